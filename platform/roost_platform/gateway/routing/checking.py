"""Finds what does not fit in the models of the settings, before anybody asks for one."""

from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches

from roost_platform.gateway.config import DEFAULT, MODEL_NAME, ModelConfig, Models


def check_models(models: Models, providers: Collection[str], own: Collection[str]) -> None:
    """Raise ValueError for a name that can't be one, a target without a provider, a fallback that
    is no model, and fallbacks that lead back to where they began. own: names of the engine in use.
    """
    for name, config in models.items():
        if not MODEL_NAME.fullmatch(name):
            raise ValueError(
                f"{name[:200]!r} can't be the name of a model; use letters, digits and . _ - : / @"
            )
        for target in config.targets:
            if target.provider not in providers:
                raise ValueError(
                    f"the model {name!r} has the target {target.provider}/{target.model}, but "
                    f"there is no provider {target.provider!r}"
                    f"{_meant(target.provider, providers)}"
                )
        for kind, others in _lists(config):
            for other in others:
                if other not in models and other not in own and not is_direct(other, providers):
                    raise ValueError(
                        f"{kind} of the model {name!r} names {other!r}, which is neither a model "
                        f"nor provider/model{_meant(other, models)}"
                    )
    for kind in ("fallbacks", "longer"):
        graph = {name: dict(_lists(config))[kind] for name, config in models.items()}
        if circle := _circle(graph):
            raise ValueError(f"{kind} leads back to where it began: {' -> '.join(circle)}")


def check_default(name: str, known: Collection[str], providers: Collection[str]) -> None:
    """Raise ValueError for a default model that is not there."""
    if name and name not in known and not is_direct(name, providers):
        raise ValueError(
            f"gateway.default_model names {name!r}, which is neither a model nor provider/model"
            f"{_meant(name, known)}"
        )


def is_direct(name: str, providers: Collection[str]) -> bool:
    """Whether a name is `provider/model`."""
    provider, slash, model = name.partition("/")
    return bool(slash and model) and provider in providers


def _lists(config: ModelConfig) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "fallbacks", config.fallbacks
    yield "longer", config.longer


def _meant(name: str, known: Collection[str]) -> str:
    """What a mistyped name may have meant."""
    if close := get_close_matches(name, sorted(known), n=1):
        return f"; did you mean {close[0]!r}?"
    names = ", ".join(sorted(one for one in known if one != DEFAULT))
    return f"; there are {names}" if names else "; there are none"


def _circle(graph: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The names along a circle, the first one again at its end; empty where there is none."""
    done: set[str] = set()
    for start in graph:
        path: list[str] = []
        # What is still to look at: a name, and how far along the path it stands.
        pending = [(start, 0)]
        while pending:
            name, depth = pending.pop()
            done.update(path[depth:])
            del path[depth:]
            if name in path:
                return [*path[path.index(name) :], name]
            if name in done:
                continue
            path.append(name)
            pending += [(other, depth + 1) for other in graph.get(name, ())]
        done.update(path)
    return []
