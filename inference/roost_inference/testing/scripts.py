"""What a scripted engine does: steps, and the directives in a message that spell them.

[[say:TEXT]]           that text           [[echo]]      the user's message, quote included
[[tool:NAME {json}]]   a tool call; several in a row are one group, what follows is said
                       after their results came
[[slow:N]]             N words at 20 a second          [[long:N]]  N characters of Markdown
[[fail:503]]           an HTTP error       [[drop]]      the connection is lost in mid-stream
[[fail:503 x2]]        only the first two times this message is seen; [[drop x1]] likewise
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TOKENS_PER_SECOND = 20.0
LENGTH_MAX = 1_000_000

_OPENING = re.compile(r"\[\[(?P<verb>say|tool|slow|long|fail|drop|echo)\b")
# Quoted text is context, and may quote a directive that was followed before.
_QUOTED = re.compile(r"<quoted\b.*?</quoted>\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Say:
    """Text, word by word; at once, or `per_second` words a second."""

    text: str
    per_second: float | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call; `arguments` is JSON text."""

    name: str
    arguments: str = "{}"


@dataclass(frozen=True, slots=True)
class Fail:
    """An HTTP error instead of an answer; `times` None is always."""

    status: int = 500
    times: int | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """The connection breaks here; `times` None is always."""

    times: int | None = None


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing more comes until the client leaves."""


Step = Say | Call | Fail | Drop | Hang


def plan(
    messages: Sequence[Mapping[str, Any]], script: Sequence[Step] | None = None
) -> Sequence[Step]:
    """What to answer now by the script (without one, by the last user message's directives),
    as far as the turn's tool calls have come."""
    last = max((i for i, m in enumerate(messages) if m.get("role") == "user"), default=None)
    text = "" if last is None else text_of(messages[last])
    since = messages[0 if last is None else last :]
    called = sum(1 for m in since if m.get("role") == "assistant" and m.get("tool_calls"))
    groups = _groups(parse(text) if script is None else script)
    if called < len(groups):
        return groups[called]
    results = [text_of(m) for m in since if m.get("role") == "tool"]
    if called and results:
        return [Say("Done: " + "; ".join(results))]
    return [Say(f"You said: {_QUOTED.sub('', text).strip()}")]


def parse(message: str) -> list[Step]:
    """The directives of a message, in order; none if it has none."""
    text = _QUOTED.sub(" ", message)
    steps: list[Step] = []
    position = 0
    while (opening := _OPENING.search(text, position)) is not None:
        end = _closing(text, opening.end())
        if end is None:
            break
        rest = text[opening.end() : end]
        steps.append(_step(opening["verb"], rest.removeprefix(":").strip(), message))
        position = end + 2
    return steps


def _closing(text: str, start: int) -> int | None:
    """Where `]]` ends a directive: not inside its JSON, whose brackets may look the same."""
    brace = text.find("{", start)
    end = text.find("]]", start)
    if 0 <= brace < end:
        try:
            _, after = json.JSONDecoder().raw_decode(text, brace)
        except ValueError:
            after = start
        end = text.find("]]", after)
    return end if end >= 0 else None


def _step(verb: str, rest: str, message: str) -> Step:
    if verb == "say":
        return Say(rest)
    if verb == "echo":
        return Say(re.sub(r"\[\[echo\]\]\s*", "", message).strip())
    if verb == "slow":
        words = [f"word{number}" for number in range(1, _number(rest) + 1)]
        return Say(" ".join(words), TOKENS_PER_SECOND)
    if verb == "long":
        return Say(markdown(_number(rest)))
    if verb == "tool":
        name, _, arguments = rest.partition(" ")
        return Call(name, arguments.strip() or "{}")
    status, _, times = rest.partition("x")
    limit = int(times) if times.strip().isdigit() else None
    if verb == "drop":
        return Drop(limit)
    return Fail(_number(status) or 500, limit)


def _number(text: str) -> int:
    digits = re.match(r"\s*(\d{1,7})", text)
    return min(int(digits[1]), LENGTH_MAX) if digits else 0


def _groups(steps: Sequence[Step]) -> list[list[Step]]:
    """Answers in a row: each ends after a run of tool calls."""
    groups: list[list[Step]] = []
    for step in steps:
        starts = not groups or (isinstance(groups[-1][-1], Call) and not isinstance(step, Call))
        if starts:
            groups.append([step])
        else:
            groups[-1].append(step)
    return groups


def text_of(message: Mapping[str, Any]) -> str:
    """A message's content as text; parts are joined."""
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(str(p.get("text", "")) for p in content if isinstance(p, dict))
    return content if isinstance(content, str) else ""


def markdown(length: int) -> str:
    """Exactly `length` characters of Markdown with headings, lists, emphasis, links and code."""
    sections: list[str] = []
    size, number = 0, 0
    while size < length:
        number += 1
        section = (
            f"## Section {number}\n\n"
            f"Paragraph {number} has **bold**, *italic*, `code` and a "
            f"[link](https://example.org/{number}), and it goes on for a while so that lines "
            "have to be broken somewhere.\n\n"
            f"- first point of {number}\n- second point, with ünïcödé and 👍\n\n"
            f"```python\nfor item in range({number}):\n    print(item)\n```\n\n"
        )
        sections.append(section)
        size += len(section)
    return "".join(sections)[:length]
