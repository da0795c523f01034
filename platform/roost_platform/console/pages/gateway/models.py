"""Models: each alias with its targets, the providers, and a question to try one target."""

from dataclasses import dataclass
from typing import Annotated

from starlette.responses import Response

from roost_inference.errors import EngineError
from roost_platform.console.console import Visit, text_field
from roost_platform.console.live import Fragment, LivePage
from roost_platform.console.navigation import NavLink
from roost_platform.console.page import ConsoleRoute, Page
from roost_platform.errors import Busy, NotFound
from roost_platform.gateway.observing.trial import Trial
from roost_platform.identity.roles import Role
from roost_platform.views.gateway.models import ModelView, find_target, without_errors
from roost_platform.views.gateway.watch import ProviderView, without_words

LOOK_S = 2.0
NAME_LENGTH_MAX = 300


@dataclass(frozen=True, slots=True)
class ModelsContext:
    """The Models page; `trial` is what became of a target that was just tried."""

    is_on: Annotated[bool, "Whether this installation serves the gateway"]
    models: Annotated[tuple[ModelView, ...], "Every alias with its targets"]
    providers: Annotated[tuple[ProviderView, ...], "Every provider, and whether it answers"]
    trial: Annotated[Trial | None, "What a target that was just tried said"] = None


async def load(visit: Visit) -> ModelsContext:
    """The models and providers now; viewers don't read what providers say."""
    gateway = visit.deps.gateway
    if gateway is None:
        return ModelsContext(False, (), ())
    providers, models = await gateway.providers(), gateway.models()
    if not visit.me.may("operator"):
        providers = tuple(without_words(one) for one in providers)
        models = tuple(without_errors(one) for one in models)
    return ModelsContext(True, models, providers)


def live(data: ModelsContext) -> LivePage:
    """The models and the providers."""
    return LivePage(
        (
            Fragment("model-cards", "gateway/model_cards.html", data.models),
            Fragment("providers", "gateway/providers.html", data.providers),
        )
    )


async def try_target(visit: Visit) -> Response:
    """Ask one target one short question, and show on the answer itself what it said."""
    form = await visit.form()
    model = text_field(form, "model", length_max=NAME_LENGTH_MAX)
    name = text_field(form, "target", length_max=NAME_LENGTH_MAX)
    gateway = visit.deps.gateway
    target = find_target(gateway.serving.router.catalogue, model, name) if gateway else None
    if gateway is None or target is None:
        raise NotFound("There is no such target.")
    try:
        trial = await gateway.trials.run(model, target, visit.me.name)
    except EngineError as error:
        raise Busy(f"{error.message}. Try again in a moment.") from None
    await visit.audit("target.try", name, {"model": model, "error": trial.error_code})
    data = await load(visit)
    shown = ModelsContext(data.is_on, data.models, data.providers, trial)
    return visit.page(PAGE.template, shown)


PAGE = Page(
    path="/models",
    template="gateway/models.html",
    load=load,
    live=live,
    look_s=LOOK_S,
    has_json=True,
    nav=NavLink("/models", "Models", "webhook", "Gateway"),
)
ACTIONS = (ConsoleRoute("POST", "/models/try", Role.operator, try_target, PAGE),)
