"""Jinja2 for the console: autoescape on, unknown names are errors, filters for figures."""

import json
import re
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from roost_channels.registry import BUILT_IN, Kinds
from roost_channels.rendering.budget import Budget
from roost_platform.console.assets import icon, static_url
from roost_platform.console.markdown import markdown, plain
from roost_platform.db.base.text import visible
from roost_platform.views.gateway.money import dollars

TEMPLATES = Path(__file__).parent / "templates"

# Processor time for all texts of one page, read for the first time; those after it are shown plain
# until the page is asked for again, as what was read is kept.
PAGE_TEXTS_S = 1.0
# Deeper JSON is shown as it came: indented, each level makes the lines inside it longer.
JSON_GROWTH_MAX = 4  # times the text's own length, by indentation
JSON_DEPTH_MAX = 40
_page_budget: ContextVar[Budget | None] = ContextVar("page_budget", default=None)

CODE = re.compile(r"`([^`\n]+)`")  # what is between a pair of backquotes

NOTHING = "\N{EN DASH}"  # a figure that was not measured

UNKNOWN_CHANNEL_ICON = "radio-tower"


@dataclass(frozen=True, slots=True)
class ChannelMark:
    """How a channel is shown: its name, its icon, and its colours."""

    label: str
    icon: str
    tone: str


def duration(seconds: float | None) -> str:
    """A duration for people: `340 ms`, `2.4 s`, `3 min 5 s`, `2 h 4 min`, `3 d`."""
    if seconds is None:
        return NOTHING
    if seconds < 0.0005:
        return "0 ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 else f"{whole // 60} min"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d"


def number(value: float | None, digits: int = 0) -> str:
    """A number with thin spaces between thousands; large ones are shortened."""
    if value is None:
        return NOTHING
    if abs(value) >= 1_000_000:
        return f"{value / 1_000_000:.1f} M"
    if abs(value) >= 100_000:
        return f"{value / 1_000:.0f} k"
    return f"{value:,.{digits}f}".replace(",", "\u202f")


def size(count: float) -> str:
    """Bytes with their unit: `0 B`, `512 KiB`, `1.4 GiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def iso(at: float) -> str:
    """Seconds since the epoch as an ISO 8601 instant in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def when(at: float | None) -> Markup:
    """An instant. The page's script shows it as `3 min ago`, with the full time on hover."""
    if at is None:
        return Markup('<span class="muted">never</span>')
    text = datetime.fromtimestamp(at, UTC).strftime("%d %b %H:%M")
    return Markup('<time datetime="{}" data-ago>{}</time>').format(iso(at), text)


def due(at: float) -> Markup:
    """An instant that is to come: `in 3 min`; `now` once it is past, as in the page's script."""
    left = at - time.time()
    text = "now" if left < 1 else f"in {duration(round(left))}"
    return Markup('<time datetime="{}" data-due>{}</time>').format(iso(at), text)


def codes(text: str) -> Markup:
    """A sentence whose words between backquotes are code; nothing else in it is marked up."""
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if at % 2 else escape(piece)
        for at, piece in enumerate(CODE.split(text))
    )


def initials(name: str) -> str:
    """Up to two letters for an avatar."""
    words = [word for word in name.replace("+", " ").split() if word[0].isalnum()]
    return "".join(word[0] for word in words[:2]).upper() or "?"


def pretty_json(text: str) -> str:
    """JSON text with indentation; text that is not JSON, is too deep or would grow many times
    larger stays as it is.

    Halves of surrogate pairs, which JSON may spell as escapes and no page can contain, become `?`.
    """
    depth = _json_depth(text)
    lines = sum(text.count(character) for character in "[{,")
    if depth > JSON_DEPTH_MAX or lines * (2 * depth + 1) > JSON_GROWTH_MAX * max(len(text), 1000):
        return text
    try:
        shown = visible(json.dumps(json.loads(text), indent=2, ensure_ascii=False))
    except ValueError:
        return text
    return shown.encode("utf-8", "replace").decode("utf-8")


# By the channel's name in addresses. Macros see no page's data, so it is told once per process.
_marks: dict[str, ChannelMark] = {}


def name_channels(kinds: Kinds) -> None:
    """Tell the templates which channels there are."""
    for kind in kinds:
        _marks.setdefault(kind.channel, ChannelMark(kind.label, kind.icon, kind.tone))


def channel_mark(channel: str) -> ChannelMark:
    """How a channel is shown; one that is not there any more by its name."""
    return _marks.get(channel) or ChannelMark(channel, UNKNOWN_CHANNEL_ICON, "plain")


# Tone and name of the state of an account, as views/channels.py reports it.
CHANNEL_STATES = {
    "up": ("good", "Connected"),
    "starting": ("busy", "Starting"),
    "degraded": ("warn", "Degraded"),
    "conflict": ("bad", "Conflict"),
    "auth_error": ("bad", "Refused"),
    "paused": ("quiet", "Paused"),
    "down": ("bad", "Down"),
    "removed": ("quiet", "Not configured"),
}


def channel_state(state: str) -> tuple[str, str]:
    """How the state of an account is shown: its tone and its name."""
    return CHANNEL_STATES.get(state, ("quiet", state.replace("_", " ").capitalize()))


def channel_choices() -> list[tuple[str, str]]:
    """(value, label) of a choice among the channels, for any of them first."""
    return [("", "Any channel"), *((name, mark.label) for name, mark in _marks.items())]


name_channels(BUILT_IN)


def _json_depth(text: str) -> int:
    """How deep brackets stand; those in strings count too, which errs on the safe side."""
    depth = deepest = 0
    for character in text:
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def page_markdown(text: str) -> Markup:
    """A text of a page as HTML; plain once the page's texts have taken their time."""
    budget = _page_budget.get()
    return plain(text) if budget is not None and budget.left_s < 0 else markdown(text)


_loader = ChoiceLoader([FileSystemLoader(TEMPLATES)])


def add_templates(folder: Path) -> None:
    """Find templates in this folder as well, after the console's own; adding it twice is fine."""
    if not any(
        isinstance(known, FileSystemLoader) and str(folder) in known.searchpath
        for known in _loader.loaders
    ):
        _loader.loaders = [*_loader.loaders, FileSystemLoader(folder)]


@cache
def environment() -> Environment:
    """The one environment; it holds no request data."""
    env = Environment(
        loader=_loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"],
    )
    env.globals.update(
        icon=icon,
        static=static_url,
        channel_mark=channel_mark,
        channel_state=channel_state,
        channel_choices=channel_choices,
    )
    env.filters.update(
        duration=duration,
        number=number,
        size=size,
        dollars=dollars,
        when=when,
        due=due,
        codes=codes,
        iso=iso,
        initials=initials,
        markdown=page_markdown,
        pretty_json=pretty_json,
    )
    return env


def render(template: str, context: Mapping[str, Any]) -> str:
    """A template's HTML; every name it uses must be in the context.

    Takes up to a second and a half of processor time for texts made to be slow: call it in a thread
    where others wait.
    """
    token = _page_budget.set(Budget(PAGE_TEXTS_S))
    try:
        return environment().get_template(template).render(context)
    finally:
        _page_budget.reset(token)
