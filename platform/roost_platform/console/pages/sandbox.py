"""Two phones beside each other, so that a person sees exactly what an end user would."""

import asyncio
from dataclasses import dataclass
from typing import Annotated

from starlette.responses import RedirectResponse, Response

from roost_platform.console.console import Visit, text_field
from roost_platform.console.errors import NotFound, Refused
from roost_platform.console.live import Fragment, LivePage
from roost_platform.console.phones import TEXT_LENGTH_MAX, Phone, Phones

LOOK_INTERVAL_S = 0.25  # how often the phones are looked at while someone watches


@dataclass(frozen=True, slots=True)
class SandboxContext:
    """The Sandbox page."""

    telegram: Annotated[Phone, "The phone with Telegram"]
    whatsapp: Annotated[Phone, "The phone with WhatsApp"]


def phones(visit: Visit) -> Phones:
    found = visit.console.phones
    if found is None:
        raise NotFound("The sandbox is not running. Start it with `roost up --sandbox`.")
    return found


async def load(visit: Visit) -> SandboxContext:
    both = phones(visit)
    return SandboxContext(*await asyncio.gather(both.telegram(), both.whatsapp()))


async def page(visit: Visit) -> Response:
    return visit.page("sandbox.html", await load(visit))


async def events(visit: Visit) -> Response:
    phones(visit)

    async def live() -> LivePage:
        data = await load(visit)
        return LivePage(
            (
                Fragment("phone-telegram", "fragments/phone.html", data.telegram),
                Fragment("phone-whatsapp", "fragments/phone.html", data.whatsapp),
            )
        )

    return visit.stream(live, look_s=LOOK_INTERVAL_S)


def done(visit: Visit) -> Response:
    return visit.done("") if visit.is_htmx else RedirectResponse("/sandbox", status_code=303)


async def telegram_says(visit: Visit) -> Response:
    form = await visit.form()
    reply_to = text_field(form, "reply_to", required=False, length_max=20)
    position = text_field(form, "quote_position", required=False, length_max=8)
    if (reply_to and not reply_to.isdecimal()) or (position and not position.isdecimal()):
        raise Refused("That message can't be replied to.")
    await phones(visit).telegram_says(
        text_field(form, "text", length_max=TEXT_LENGTH_MAX),
        reply_to,
        text_field(form, "quote", required=False, length_max=1024),
        int(position) if position else None,
    )
    return done(visit)


async def telegram_presses(visit: Visit) -> Response:
    form = await visit.form()
    id = text_field(form, "message_id", length_max=20)
    if not id.isdecimal():
        raise Refused("That button can't be pressed.")
    await phones(visit).telegram_presses(int(id), text_field(form, "data", length_max=64))
    return done(visit)


async def whatsapp_says(visit: Visit) -> Response:
    form = await visit.form()
    await phones(visit).whatsapp_says(
        text_field(form, "text", length_max=TEXT_LENGTH_MAX),
        text_field(form, "reply_to", required=False, length_max=64),
    )
    return done(visit)
