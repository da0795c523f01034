"""What the card of a question says: while it is open, and once it is over."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from roost_platform.db import models
from roost_platform.db.base.text import visible

SUBJECT_MAX: Final = 120  # characters of a question that other messages quote
ANSWER_MAX: Final = 200
LABEL_MAX: Final = 20  # characters of a button that every network shows
NAME_MAX: Final = 60
DAY_S: Final = 24 * 3600.0
_MARKS = re.compile(r"[*`~\[\]<>|]+")
OUTCOMES: Final = {
    "ok": "done",
    "error": "failed",
    "unknown": "outcome unknown",
    "cancelled": "stopped",
}
# By the rule of an approval, whose decision it waits for.
DECISIONS: Final = {
    "requester": "your decision on",
    "operator": "an operator's decision on",
    "another": "another person's decision on",
}
ANOTHER: Final = "Somebody other than the one who asked for it has to decide."
OPERATOR: Final = "An operator has to decide, in the console."


def open_text(approval: models.Approval, parent: str, until: str, *, by_words: str = "") -> str:
    """The text of an open question's card.

    parent: the agent for which a child asks, else empty. until: the end of the time, in words.
    by_words: how to answer without buttons.
    """
    agent = f"{approval.agent} (for {parent})" if parent else approval.agent
    if approval.kind != "approve":
        question = approval.questions[len(approval.answers)]
        count = len(approval.questions)
        number = f" ({len(approval.answers) + 1} of {count})" if count > 1 else ""
        head = f"**{plain(agent)} asks{number}**\n\n" if parent or number else ""
        listed = listed_options(question["options"])
        return "\n\n".join(filter(None, (f"{head}{question['text']}", listed, by_words)))
    if not approval.tool:
        head = f"**{plain(agent)} asks for approval**\n\n{visible(approval.preview)}"
    else:
        head = f"**{plain(agent)} asks: may I run `{approval.tool}`?**"
        if approval.preview:
            head = f"{head}\n\n{fenced(approval.preview)}"
    rule = {"another": ANOTHER, "operator": OPERATOR}.get(approval.rule, "")
    return "\n\n".join(filter(None, (head, rule, f"Open until {until}.", by_words)))


def listed_options(options: Sequence[str]) -> str:
    """The options one a line, where some network would cut their buttons; else empty."""
    if all(len(option) <= LABEL_MAX for option in options):
        return ""
    return "\n".join(f"{number}. {plain(option)}" for number, option in enumerate(options, 1))


def closed_text(approval: models.Approval, zone: tzinfo | None, outcome: str = "") -> str:
    """What the card says once the question is over. outcome: the end of the call's run, if any."""
    return (
        f"{verdict_line(approval, zone)}{f' · {outcome}' if outcome else ''}\n{subject(approval)}"
    )


def verdict_line(approval: models.Approval, zone: tzinfo | None) -> str:
    """`Approved by Ana 14:03`."""
    at = clock(approval.decided_at, zone) if approval.decided_at is not None else ""
    name = plain(approval.decided_name) or "somebody"
    match approval.state:
        case "approved":
            return f"Approved by {name} {at}"
        case "denied":
            reason = f": {plain(approval.reason)[:ANSWER_MAX]}" if approval.reason else ""
            return f"Denied by {name} {at}{reason}"
        case "answered":
            said = ", ".join(plain(str(answer)) for answer in approval.answers)
            return f"Answered by {name} {at}: {said[:ANSWER_MAX]}"
        case "expired":
            did = "decided" if approval.kind == "approve" else "answered"
            return f"Nobody {did} in time."
        case "cancelled":
            return f"Cancelled {at}."
        case "stale":
            return "Void: the tool or its arguments have changed."
        case "unreachable":
            return "Nobody could be reached."
    return "Open."


def subject(approval: models.Approval) -> str:
    """The question in one line, for messages about it."""
    if approval.kind == "approve" and approval.tool:
        arguments = exact(_cut(" ".join(approval.preview.split())))
        name = f"`{approval.tool}`"
        return f"{name}: {arguments}" if arguments else name
    texts = [question["text"] for question in approval.questions] or [approval.preview]
    return _cut(plain(texts[min(len(approval.answers), len(texts) - 1)]))


def named(approval: models.Approval) -> str:
    """The question within a sentence: somebody's words stand in quotation marks."""
    is_call = approval.kind == "approve" and approval.tool
    return subject(approval) if is_call else f"“{subject(approval)}”"


def details_text(approval: models.Approval) -> str:
    """All that the call would be given."""
    return f"`{approval.tool}`\n\n{fenced(visible(approval.arguments or '{}'))}"


def plain(text: str) -> str:
    """Somebody's words in one line, without anything that formats."""
    return " ".join(_MARKS.sub("", text).split())


def exact(line: str) -> str:
    """A line as it is: what would format stands in a code span that nothing in it can end."""
    if not _MARKS.search(line):
        return line
    ticks = "`" * (1 + max((len(row) for row in re.findall("`+", line)), default=0))
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{ticks}{pad}{line}{pad}{ticks}"


def fenced(text: str) -> str:
    """The text as code, which nothing in it can end."""
    return "```\n{}\n```".format(text.replace("```", "'''"))


def clock(at: float, zone: tzinfo | None) -> str:
    """`14:03`, in the zone or, without one, that of this machine, which it names: `14:03 UTC`."""
    return f"{_local(at, zone):%H:%M}{_named_zone(at, zone)}"


def moment(at: float, now: float, zone: tzinfo | None) -> str:
    """`14:03`, with the day beyond half a day from now; the zone as `clock` names it."""
    form = "%H:%M" if at - now < DAY_S / 2 else "%a %d %b, %H:%M"
    return f"{_local(at, zone):{form}}{_named_zone(at, zone)}"


def zone_of(person: models.Identity | None) -> tzinfo | None:
    """The person's zone; None for one that is not known."""
    if person is None or not person.zone:
        return None
    try:
        return ZoneInfo(person.zone)
    except (ZoneInfoNotFoundError, ValueError):
        return None


def _local(at: float, zone: tzinfo | None) -> datetime:
    return datetime.fromtimestamp(at, UTC).astimezone(zone)


def _named_zone(at: float, zone: tzinfo | None) -> str:
    """The machine's zone after a time; nothing after one of the person's own zone."""
    return "" if zone else f"{_local(at, zone): %Z}"


def _cut(text: str) -> str:
    return text if len(text) <= SUBJECT_MAX else f"{text[:SUBJECT_MAX]}…"
