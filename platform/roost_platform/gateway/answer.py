"""A whole answer, put together from its events."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from roost_platform.gateway.events import (
    CallDelta,
    Embedded,
    Event,
    Finish,
    FinishReason,
    NativePart,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    TextWasReasoning,
    Usage,
)


@dataclass(slots=True)
class AnsweredCall:
    """A tool call; arguments is JSON text as the model wrote it."""

    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class ReasoningBlock:
    """A block of reasoning; see ReasoningDelta."""

    text: str = ""
    signature: str = ""
    is_redacted: bool = False


@dataclass(slots=True)
class AnsweredText:
    """Text between two other blocks; additions: in the provider's own form, such as citations."""

    texts: list[str] = field(default_factory=list)
    additions: list[Mapping[str, Any]] = field(default_factory=list)


Block = AnsweredText | ReasoningBlock | AnsweredCall | NativePart


@dataclass(slots=True)
class AnswerChoice:
    """One choice. finish is None until it is complete.

    blocks: text, reasoning, calls and native parts in the order in which they began.
    """

    blocks: list[Block] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    refusal: str = ""
    reasoning: list[ReasoningBlock] = field(default_factory=list)
    calls: list[AnsweredCall] = field(default_factory=list)
    logprobs: list[Any] = field(default_factory=list)
    finish: FinishReason | None = None
    stop_sequence: str | None = None
    native_finish: Mapping[str, Any] = field(default_factory=dict)

    @property
    def open_text(self) -> AnsweredText:
        """The block that more text belongs to."""
        last = self.blocks[-1] if self.blocks else None
        if not isinstance(last, AnsweredText):
            last = AnsweredText()
            self.blocks.append(last)
        return last

    @property
    def text(self) -> str:
        """The text."""
        return "".join(self.texts)

    @property
    def reasoning_text(self) -> str:
        """The reasoning that can be read."""
        return "".join(block.text for block in self.reasoning if not block.is_redacted)


@dataclass(slots=True)
class Answer:
    """What a model has answered so far. embedded: the vectors, where they were asked for."""

    started: Started = field(default_factory=Started)
    usage: Usage = field(default_factory=Usage)
    choices: list[AnswerChoice] = field(default_factory=lambda: [AnswerChoice()])
    embedded: Embedded | None = None

    def take(self, events: Iterable[Event]) -> None:
        """Add these events."""
        for event in events:
            match event:
                case Started():
                    self.started = event
                case Usage():
                    self.usage = event
                case Embedded():
                    self.embedded = event
                case _:
                    self._choice(event.choice, event)

    def _choice(self, index: int, event: Event) -> None:
        while len(self.choices) <= index:
            self.choices.append(AnswerChoice())
        choice = self.choices[index]
        match event:
            case TextDelta():
                choice.texts.append(event.text)
                choice.open_text.texts.append(event.text)
                choice.logprobs += event.logprobs
            case TextWasReasoning():
                block = ReasoningBlock(choice.text)
                choice.reasoning.append(block)
                choice.texts.clear()
                others = [one for one in choice.blocks if not isinstance(one, AnsweredText)]
                choice.blocks = [block, *others]
            case ReasoningDelta():
                _add_reasoning(choice, event)
            case RefusalDelta():
                choice.refusal += event.text
            case NativePart():
                if event.is_delta:
                    choice.open_text.additions.append(event.value)
                else:
                    choice.blocks.append(event)
            case CallDelta():
                while len(choice.calls) <= event.index:
                    choice.calls.append(AnsweredCall())
                    choice.blocks.append(choice.calls[-1])
                call = choice.calls[event.index]
                call.id, call.name = call.id or event.id, call.name or event.name
                call.arguments += event.arguments
            case Finish():
                choice.finish, choice.stop_sequence = event.reason, event.stop_sequence
                choice.native_finish = event.native


def _add_reasoning(choice: AnswerChoice, event: ReasoningDelta) -> None:
    """A block ends with its signature; ciphertext is a block of its own."""
    blocks = choice.reasoning
    is_open = blocks and not blocks[-1].signature and not blocks[-1].is_redacted
    if event.is_redacted or not is_open:
        blocks.append(ReasoningBlock(is_redacted=event.is_redacted))
        choice.blocks.append(blocks[-1])
    blocks[-1].text += event.text
    blocks[-1].signature += event.signature
