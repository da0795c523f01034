"""One answer of a model to a compressed prompt, of which the client sees no call of our tool."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from roost_platform.gateway.answer import Answer, AnsweredCall
from roost_platform.gateway.compression.planning import Plan
from roost_platform.gateway.compression.retrieval import tool
from roost_platform.gateway.events import CallDelta, Event, Finish, Started, TextDelta, Usage
from roost_platform.gateway.keys.prices import estimated_tokens, with_estimates
from roost_platform.gateway.request import ModelRequest
from roost_platform.gateway.routing.router import CallTrace
from roost_platform.gateway.sizes import text_bytes

BOUNDS = ("max_tokens", "max_completion_tokens")


@dataclass(slots=True)
class Round:
    """One answer. Calls and the end are held back until it is known whether our tool is among them;
    text and reasoning go on at once. follows: the text that the client has read before.
    """

    tool_name: str
    is_first: bool = True
    follows: str = ""
    _answer: Answer = field(default_factory=Answer)
    _finish: Finish | None = None

    def take(self, batch: Sequence[Event]) -> list[Event]:
        """What the client is told of these events now."""
        self._answer.take(batch)
        return [event for event in batch for event in self._shown(event)]

    def _shown(self, event: Event) -> Iterator[Event]:
        match event:
            case Started():
                if self.is_first:
                    yield event
            case CallDelta() | Usage():
                pass
            case Finish():
                self._finish = event
            case TextDelta() if event.text:
                if self.follows and not self.follows[-1].isspace():
                    yield TextDelta("\n\n")
                self.follows = ""
                yield event
            case _:
                yield event

    @property
    def text(self) -> str:
        """The text of this answer."""
        return self._answer.choices[0].text

    @property
    def reasoning(self) -> Mapping[str, Any]:
        """The reasoning before the calls, which some providers want back with them."""
        choice = self._answer.choices[0]
        fields: dict[str, Any] = {}
        if text := choice.reasoning_text:
            fields["reasoning_content"] = text
        details = [
            {"type": "reasoning.encrypted", "data": block.text}
            if block.is_redacted
            else {"type": "reasoning.text", "text": block.text, "signature": block.signature}
            for block in choice.reasoning
            if block.is_redacted or block.signature
        ]
        return {**fields, "reasoning_details": details} if details else fields

    @property
    def retrieves(self) -> list[AnsweredCall]:
        """The calls of our tool."""
        return [call for call in self._answer.choices[0].calls if call.name == self.tool_name]

    def ending(self, usage: Usage) -> list[Event]:
        """The client's own calls, why it ended, and what all rounds have used."""
        choice = self._answer.choices[0]
        calls = [call for call in choice.calls if call.name != self.tool_name]
        events: list[Event] = [
            CallDelta(index, call.id, call.name, call.arguments) for index, call in enumerate(calls)
        ]
        finish = self._finish or Finish("tool_calls" if calls else "stop")
        if choice.finish == "tool_calls" and not calls:
            finish = Finish("stop")
        return [*events, finish, usage]


def first_request(request: ModelRequest, plan: Plan, tool_name: str) -> ModelRequest:
    """The request as the provider gets it, with the tool. What the client wrote in the provider's
    own form would bring back what was left out, so it does not go along.
    """
    offered = tool(tool_name)
    body = {
        **request.body,
        "messages": list(plan.rows),
        "tools": [*(request.body.get("tools") or ()), offered],
    }
    size = plan.prompt_bytes + text_bytes(offered)
    return replace(request, body=body, prompt_bytes=size, native=None)


def next_request(
    asked: ModelRequest, done: Round, answers: Sequence[str], left: int | None
) -> ModelRequest:
    """The request with what was retrieved. left: tokens of output, which all rounds share."""
    calls = [
        {
            "id": call.id or f"call_{number}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments or "{}"},
        }
        for number, call in enumerate(done.retrieves)
    ]
    said = {"role": "assistant", "content": done.text or None, "tool_calls": calls}
    rows: list[Mapping[str, Any]] = [{**said, **done.reasoning}]
    rows += [
        {"role": "tool", "tool_call_id": call["id"], "content": answer}
        for call, answer in zip(calls, answers, strict=True)
    ]
    body = {**asked.body, "messages": [*asked.messages, *rows]}
    if left is not None:
        body |= {name: left for name in BOUNDS if name in asked.body}
    size = asked.prompt_bytes + text_bytes(rows)
    return replace(asked, body=body, prompt_bytes=size, max_tokens=left)


def add_round(trace: CallTrace, step: CallTrace) -> None:
    """Add what one round has used to what is known of the call."""
    trace.tries += step.tries
    trace.produced_bytes += step.produced_bytes
    if step.first is None:
        return
    trace.first = trace.first or step.first
    trace.target, trace.model = step.target, step.model
    read = estimated_tokens(step.prompt_bytes)
    used = with_estimates(step.counted, read, step.produced_bytes)
    trace.usage = used if trace.usage is None else _sum(trace.usage, used)


def _sum(one: Usage, other: Usage) -> Usage:
    return replace(
        other,
        input_tokens=one.input_tokens + other.input_tokens,
        cached_tokens=one.cached_tokens + other.cached_tokens,
        cache_write_tokens=one.cache_write_tokens + other.cache_write_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        reasoning_tokens=one.reasoning_tokens + other.reasoning_tokens,
    )
