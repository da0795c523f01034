"""The family of /v1/responses/compact for one call: a conversation in, a shorter window out."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from roost_inference.errors import EngineError, EngineFailed
from roost_platform.gateway.answer import Answer
from roost_platform.gateway.families.chat.writing import error_object
from roost_platform.gateway.families.responses.compaction import INSTRUCTION, compacted, expanded
from roost_platform.gateway.families.responses.family import ResponseCall
from roost_platform.gateway.families.responses.ids import item_id
from roost_platform.gateway.families.responses.items import CALLS, RESULTS
from roost_platform.gateway.families.responses.resource import counted
from roost_platform.gateway.families.responses.writing import ResponseWriter
from roost_platform.gateway.request import Family, ModelRequest
from roost_platform.gateway.sizes import text_bytes

KEPT_ROLES = frozenset({"user", "system", "developer"})


class CompactCall:
    """One compaction; see GenerationFamily. call: the conversation, read as for a response.

    What people and rules said stays word for word. The model's summary stands for its own messages,
    its reasoning, and calls with their results; a call whose result is still to come stays.
    """

    name: Family = "responses"

    def __init__(self, call: ResponseCall) -> None:
        self._call = call
        self._items = [part for item in call.conversation for part in _parts(item)]
        done = {item.get("call_id") for item in self._items if item["type"] in RESULTS}
        self._pending = [
            item for item in self._items if item["type"] in CALLS and item["call_id"] not in done
        ]

    def read(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> ModelRequest:
        """The request for a summary. The prompt begins as the conversation's own requests do, so
        that a prefix cache knows it.
        """
        pending = {item["call_id"] for item in self._pending}
        settled = [item for item in self._items if item.get("call_id") not in pending]
        request = self._call.request(settled, body, headers)
        messages = [*request.messages, {"role": "user", "content": INSTRUCTION}]
        chat: dict[str, Any] = {"messages": messages}
        if tools := request.body.get("tools"):
            chat |= {"tools": tools, "tool_choice": "none"}
        size = request.prompt_bytes + text_bytes(INSTRUCTION)
        return replace(
            request, body=chat, stream=False, max_tokens=None, prompt_bytes=size, truncates=False
        )

    def writer(
        self, request: ModelRequest, body: Mapping[str, Any], call_id: str
    ) -> ResponseWriter:
        """A compaction is no stream."""
        raise EngineFailed("A compaction can't be streamed")

    def whole(
        self, request: ModelRequest, body: Mapping[str, Any], call_id: str, answer: Answer
    ) -> Mapping[str, Any]:
        """The compacted window. Raises EngineFailed for a summary that is empty or cut off."""
        choice = answer.choices[0]
        summary = choice.text.strip()
        if not summary or choice.finish == "length":
            raise EngineFailed("The model did not complete the summary of the conversation")
        id = self._call.id
        kept = list(filter(_is_kept, self._call.conversation))
        item = {
            "id": item_id(id, "compaction", 0),
            "type": "compaction",
            "encrypted_content": compacted(summary, self._pending),
        }
        return {
            "id": id,
            "object": "response.compaction",
            "created_at": int(time.time()),
            "output": [*map(_shown, kept), item],
            "usage": counted(answer.usage),
        }

    def error(self, error: EngineError, request_id: str) -> Mapping[str, Any]:
        """An error as the body of an answer."""
        return error_object(error)


def _parts(item: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """What an item stands for: one that was compacted before for several."""
    return expanded(item) if item["type"] == "compaction" else [item]


def _is_kept(item: Mapping[str, Any]) -> bool:
    return item["type"] == "message" and item["role"] in KEPT_ROLES


def _shown(item: Mapping[str, Any]) -> Mapping[str, Any]:
    content = item["content"]
    if isinstance(content, str):
        content = [{"type": "input_text", "text": content}]
    return {**item, "status": "completed", "content": content}
