"""Builds a response from the events of its answer, item by item, and tells each step of it."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from roost_inference.errors import EngineError, EngineFailed
from roost_platform.gateway.events import (
    CallDelta,
    Event,
    Finish,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    Usage,
)
from roost_platform.gateway.families.responses.ids import item_id
from roost_platform.gateway.families.responses.open_items import (
    OpenCall,
    OpenMessage,
    OpenReasoning,
    Tell,
)
from roost_platform.gateway.families.responses.resource import failure, usage_object

T = TypeVar("T", OpenMessage, OpenReasoning, OpenCall)

CUT: Final[dict[FinishReason, str]] = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
}


class ResponseBuilder:
    """One response. tell: hears of each step, as the type of an event and its fields.

    custom: names of custom tools. summarises: reasoning is told as a summary. A message ends where
    something else begins; calls end with the answer, as their parts may come mixed.
    """

    def __init__(
        self,
        resource: dict[str, Any],
        tell: Tell,
        *,
        custom: frozenset[str] = frozenset(),
        summarises: bool = False,
    ) -> None:
        self.resource = resource
        self._tell = tell
        self._custom = custom
        self._summarises = summarises
        self._items: list[OpenMessage | OpenReasoning | OpenCall] = []
        self._calls: dict[int, OpenCall] = {}
        self._current: OpenMessage | OpenReasoning | None = None
        self._reason: FinishReason | None = None
        self._has_begun = False

    def begin(self) -> None:
        """Tell that the response is there; a second time it does nothing."""
        if self._has_begun:
            return
        self._has_begun = True
        kinds = ["response.created", "response.in_progress"]
        if self.resource["status"] == "queued":
            kinds.insert(1, "response.queued")
        for kind in kinds:
            if kind == "response.in_progress":
                self.resource["status"] = "in_progress"
            self._tell(kind, response=self.resource)

    def take(self, events: Sequence[Event]) -> None:
        """Add these events. A response has one choice."""
        self.begin()
        for event in events:
            match event:
                case TextDelta():
                    self._message().add_text(event.text, event.logprobs)
                case RefusalDelta():
                    self._message().add_refusal(event.text)
                case ReasoningDelta():
                    self._reasoning(event)
                case CallDelta():
                    self._call(event)
                case Finish():
                    self._reason = event.reason
                case Usage():
                    self.resource["usage"] = usage_object(event)
                case _:
                    pass

    def end(self) -> None:
        """Close what is open, and tell the end."""
        self.begin()
        if self._reason == "error":
            self.fail(EngineFailed("The provider ended its answer with an error"))
            return
        cut = CUT.get(self._reason) if self._reason else None
        if not self._items and cut is None:
            self._message().add_text("", ())
        open_items = [item for item in self._items if not item.is_done]
        for item in open_items:
            is_cut = cut is not None and item is open_items[-1]
            item.close("incomplete" if is_cut else "completed")
        self._close("incomplete" if cut else "completed")
        if cut:
            self.resource["incomplete_details"] = {"reason": cut}
        self._tell(f"response.{self.resource['status']}", response=self.resource)

    def fail(self, error: EngineError) -> None:
        """Tell an error, and that the response has failed. Items that were open stay unfinished:
        a client must not act on half a call.
        """
        self.begin()
        self._stop_items()
        self.resource["error"] = failure(error)
        self._close("failed")
        self._tell("error", code=error.code, message=error.message, param=error.param)
        self._tell("response.failed", response=self.resource)

    def cancel(self) -> None:
        """End it as it stands, because somebody asked for it."""
        self.begin()
        self._stop_items()
        self._close("cancelled")
        self._tell("response.incomplete", response=self.resource)

    def _close(self, status: str) -> None:
        self.resource["output"] = [item.item for item in self._items]
        self.resource["status"] = status
        if status == "completed":
            self.resource["completed_at"] = int(time.time())

    def _stop_items(self) -> None:
        for item in self._items:
            if not item.is_done:
                item.stop()

    def _message(self) -> OpenMessage:
        if not isinstance(self._current, OpenMessage):
            self._leave()
            self._current = self._open(
                lambda index, id: OpenMessage(self._tell, index, id), "message"
            )
        return self._current

    def _reasoning(self, event: ReasoningDelta) -> None:
        if not isinstance(self._current, OpenReasoning) or event.is_redacted:
            self._leave()

            def make(index: int, id: str) -> OpenReasoning:
                return OpenReasoning(self._tell, index, id, is_summary=self._summarises)

            self._current = self._open(make, "reasoning")
        if event.is_redacted:
            self._current.redact(event.text)
        else:
            self._current.add_text(event.text)
        if event.signature:
            self._current.sign(event.signature)
        if event.signature or event.is_redacted:  # a block ends with it
            self._leave()

    def _call(self, event: CallDelta) -> None:
        call = self._calls.get(event.index)
        if call is None:
            self._leave()
            is_custom = event.name in self._custom
            kind = "custom_tool_call" if is_custom else "function_call"

            def make(index: int, id: str) -> OpenCall:
                return OpenCall(self._tell, index, id, kind, event.id, event.name)

            call = self._calls[event.index] = self._open(make, kind)
        call.add_arguments(event.arguments)

    def _open(self, make: Callable[[int, str], T], kind: str) -> T:
        index = len(self._items)
        item = make(index, item_id(self.resource["id"], kind, index))
        self._items.append(item)
        return item

    def _leave(self) -> None:
        """Close the message or the reasoning that is open."""
        if self._current is not None:
            self._current.close("completed")
        self._current = None
