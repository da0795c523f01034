"""How models of a family write tool calls: the rules of a grammar, and a parser of the text."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

CALL_OPEN = "<tool_call>"
CALL_CLOSE = "</tool_call>"

ANY_TEXT = "/(?s:.*)/"


@dataclass(frozen=True, slots=True)
class ParsedCall:
    """A complete call; `arguments` is JSON text exactly as generated, `choice` says which of the
    answers to a request made it."""

    id: str
    name: str
    arguments: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Markers:
    """The tokens of a markup's parts, where the vocabulary has one for each: those of `<tool_call>`
    and its end, and those of other markups by their text."""

    open_token: int | None = None
    close_token: int | None = None
    tokens: dict[str, int] = field(default_factory=dict)

    def token(self, text: str) -> int | None:
        """The token of this part, None where there is none."""
        own = {CALL_OPEN: self.open_token, CALL_CLOSE: self.close_token}.get(text)
        return self.tokens.get(text) if own is None else own

    def literal(self, text: str) -> str:
        """The part as a grammar writes it."""
        token = self.token(text)
        return json.dumps(text, ensure_ascii=False) if token is None else f"<[{token}]>"


@dataclass(frozen=True, slots=True)
class Signature:
    """A function that may be called; parameters: the JSON schema of the object it takes."""

    name: str
    parameters: Mapping[str, Any]


class CallParser(Protocol):
    """Splits generated text, as it comes, into text and whole calls."""

    truncated: bool

    def feed(self, text: str) -> Iterator[str | ParsedCall]:
        """Take generated text; gives what is certain by now, in order."""
        ...

    def finish(self, *, cut_off: bool) -> Sequence[str | ParsedCall]:
        """What is left. Call once, last; `cut_off` if the text was ended by its length: then a call
        that is not whole does not come out, and `truncated` is set. Else it comes out as text."""
        ...


class CallMarkup:
    """A way to write calls.

    writes_json: arguments are a JSON object; grammars then have a rule `arguments_N` for each
    function, else the markup makes rules of the schemas itself. opening: the text that begins
    calls, empty where they begin the answer; parts: texts that may be one control token each, and
    that a reader of the answer has to see; always_parses: whether answers without tools have markup
    as well; tail: what ends all calls.
    """

    writes_json = True
    opening = ""
    parts: tuple[str, ...] = ()
    always_parses = False
    tail = ""

    def markers(self, tokenize: Callable[[str], Sequence[int]]) -> Markers:
        """The parts that are one token each."""
        tokens = {part: tokenize(part) for part in self.parts}
        return Markers(tokens={part: found[0] for part, found in tokens.items() if len(found) == 1})

    def rules(self, functions: Sequence[Signature], markers: Markers) -> list[str]:
        """Rules `open`, `call` (what follows it), `more` (one more call), and those of `tail`.
        Raises BadGrammar for a schema that this markup can't hold."""
        raise NotImplementedError

    def parser(self, functions: Sequence[Signature]) -> CallParser:
        """A new parser of one answer; functions: those that may be called."""
        raise NotImplementedError

    def forced(self, more: str) -> str:
        """The start of an answer that has to call; more: how often `more` may follow."""
        return f"start: open call{more}{self.tail}"

    def with_body(self, more: str) -> str:
        """The start of an answer of a given form, the rule `body`, or of calls."""
        return f"start: body | open call{more}{self.tail}"

    def free(self, more: str, markers: Markers) -> list[str]:
        """The start of any answer, also of calls. The lazy head ends free text at the opening: from
        there only a call can follow."""
        opening, token = "head", markers.token(self.opening)
        if token is not None:
            opening = f"(head | TEXT <[{token}]>)"
        return [
            f"TEXT: {ANY_TEXT}",
            f"head[lazy]: TEXT {json.dumps(self.opening, ensure_ascii=False)}",
            f"start: TEXT | {opening} call{more}{self.tail}",
        ]

    def without_calls(self, markers: Markers) -> list[str]:
        """The start of an answer in words alone."""
        opening = re.escape(self.opening).replace("/", r"\/")
        return ["start: SAFE", f"SAFE: {ANY_TEXT} & ~/(?s:.*){opening}(?s:.*)/"]

    def framed(self, grammar: str, body: str | None, markers: Markers) -> str:
        """The grammar of an answer of a given form without calls; body: its rule `body`, None where
        it can't be part of a larger one."""
        return grammar
