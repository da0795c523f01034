"""The channels that come with Roost, one line each; others are named by the setting `channels`."""

import re
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from roost_channels.config import ChannelConfig
from roost_channels.console.kind import KIND as CONSOLE
from roost_channels.kinds import ChannelKind
from roost_channels.telegram.kind import KIND as TELEGRAM
from roost_channels.whatsapp.kind import KIND as TWILIO
from roost_channels.whatsapp_cloud.kind import KIND as WHATSAPP_CLOUD

Kinds = tuple[ChannelKind[Any], ...]

BUILT_IN: Kinds = (
    CONSOLE,
    TELEGRAM,
    TWILIO,
    WHATSAPP_CLOUD,
)

HOOKS = "/hooks/"
# Stands in session keys, and in variables, where two underscores part names.
_NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")


class RegistrationError(ValueError):
    """A channel can't be registered; says which and why."""


def load_kinds(names: Sequence[str] = ()) -> Kinds:
    """The built-in kinds, and those named as `module:attribute`; raises RegistrationError."""
    kinds = (*BUILT_IN, *(_load(name) for name in names))
    for index, kind in enumerate(kinds):
        problem = _problem(kind, kinds[:index])
        if problem:
            raise RegistrationError(f"channel {kind.name!r}: {problem}")
    return kinds


def _load(name: str) -> ChannelKind[Any]:
    module, separator, attribute = name.partition(":")
    if not separator or not module or not attribute:
        raise RegistrationError(f"{name!r} names no channel; write module:attribute")
    try:
        kind = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise RegistrationError(f"{name} can't be imported: {error}") from error
    if not isinstance(kind, ChannelKind):
        raise RegistrationError(f"{name} is a {type(kind).__name__} and not a ChannelKind")
    return kind


def _problem(kind: ChannelKind[Any], others: Kinds) -> str:
    """Why this kind can't stand beside the others; the empty string where it can."""
    if not _NAME.fullmatch(kind.channel):
        return f"{kind.channel!r} is not a channel name: a-z, 0-9 and single underscores"
    if kind.section and not _NAME.fullmatch(kind.section):
        return f"{kind.section!r} is not a section name: a-z, 0-9 and single underscores"
    if not issubclass(kind.config, ChannelConfig):
        return f"{kind.config.__name__} is not a ChannelConfig"
    paths = {route.path for route in kind.routes}
    if outside := sorted(path for path in paths if not path.startswith(HOOKS)):
        return f"{outside[0]} is not below {HOOKS}"
    if bool(kind.routes) != (kind.webhooks is not None):
        return "`routes` and `webhooks` need each other"
    for other in others:
        if kind.name == other.name:
            return "the name is taken"
        if kind.section and kind.section == other.section:
            return f"the section {kind.section} belongs to {other.name}"
        if shared := sorted(paths & {route.path for route in other.routes}):
            return f"{shared[0]} belongs to {other.name}"
    return ""
