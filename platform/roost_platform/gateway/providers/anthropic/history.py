"""Chat messages in OpenAI's form as messages of Anthropic's API, by its rules of order."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from roost_platform.gateway.providers.anthropic.parts import blocks_of

Block = dict[str, Any]

GO_ON: Final = "Go on."
NO_RESULT: Final = "There is no result of this call."
_NOT_IN_ID: Final = re.compile(r"[^a-zA-Z0-9_-]")


class Conversation:
    """Takes chat messages in order; `system` and `messages()` are what they become.

    Anthropic wants the system text apart, roles in turns, and each call's result in the very next
    message; so neighbours of one role are merged, system text in the middle becomes the user's,
    a result without a call becomes text, and a call without a result gets one that says so.
    """

    def __init__(self) -> None:
        self.system: list[Block] = []
        self._turns: list[tuple[str, list[Block]]] = []
        self._open: list[str] = []  # ids of calls whose results may come

    def add(self, message: Mapping[str, Any]) -> None:
        """Take one message."""
        match message.get("role"):
            case "system" | "developer":
                blocks = blocks_of(message.get("content"))
                if not self._turns:
                    self.system += blocks
                else:
                    self._say("user", [_as_system(block) for block in blocks])
            case "assistant":
                self._answer(message)
            case "tool" | "function":
                self._result(message)
            case _:
                self._say("user", blocks_of(message.get("content")))

    def messages(self) -> list[dict[str, Any]]:
        """The messages, at least one."""
        turns = [(role, blocks) for role, blocks in self._turns if blocks]
        if not turns and self.system:  # Anthropic needs a message
            turns = [("user", self.system)]
            self.system = []
        if not turns or turns[0][0] == "assistant":
            turns.insert(0, ("user", [{"type": "text", "text": GO_ON}]))
        last_role, last = turns[-1]
        if last_role == "assistant" and last[-1]["type"] == "text":
            text = last[-1]["text"].rstrip()  # it refuses blanks at the end
            last[-1] = {**last[-1], "text": text or GO_ON}
        return [{"role": role, "content": blocks} for role, blocks in self._answered(turns)]

    @property
    def may_think(self) -> bool:
        """Whether thinking can be on: in a round of tools it needs the reasoning of the calls."""
        for role, blocks in reversed(self._turns):
            kinds = {block["type"] for block in blocks}
            if role == "user" and kinds - {"tool_result"}:
                return True
            if role == "assistant" and "tool_use" in kinds:
                return blocks[0]["type"] in ("thinking", "redacted_thinking")
        return True

    def _answer(self, message: Mapping[str, Any]) -> None:
        calls = [*_calls(message)]
        text = [block for block in blocks_of(message.get("content")) if block["type"] == "text"]
        refusal = message.get("refusal")
        if isinstance(refusal, str) and refusal:
            text.append({"type": "text", "text": refusal})
        self._say("assistant", [*_reasoning(message), *text, *calls])
        if calls:
            self._open = [call["id"] for call in calls]

    def _result(self, message: Mapping[str, Any]) -> None:
        id = _id(message.get("tool_call_id") or message.get("name"))
        blocks = blocks_of(message.get("content"))
        if id not in self._open:
            self._say("user", blocks)
            return
        self._open.remove(id)
        result: Block = {"type": "tool_result", "tool_use_id": id}
        if blocks:
            result["content"] = blocks
        if cache := message.get("cache_control"):
            result["cache_control"] = cache
        self._say("user", [result])

    def _say(self, role: str, blocks: list[Block]) -> None:
        if not blocks:
            return
        if not self._turns or self._turns[-1][0] != role:
            self._turns.append((role, []))
        self._turns[-1][1].extend(blocks)

    def _answered(self, turns: list[tuple[str, list[Block]]]) -> Iterator[tuple[str, list[Block]]]:
        """The turns with a result for each call, before anything else that the user says."""
        wanted: list[str] = []
        for role, blocks in turns:
            if role == "user":
                results = [block for block in blocks if block["type"] == "tool_result"]
                others = [block for block in blocks if block["type"] != "tool_result"]
                given = {block["tool_use_id"] for block in results}
                yield role, [*results, *_missing(wanted, given), *others]
                wanted = []
            else:
                yield role, blocks
                wanted = [block["id"] for block in blocks if block["type"] == "tool_use"]
        if wanted:
            yield "user", [*_missing(wanted, set())]


def _missing(wanted: list[str], given: set[str]) -> Iterator[Block]:
    for id in wanted:
        if id not in given:
            yield {
                "type": "tool_result",
                "tool_use_id": id,
                "content": [{"type": "text", "text": NO_RESULT}],
                "is_error": True,
            }


def _as_system(block: Block) -> Block:
    """System text in the middle of a conversation."""
    if block["type"] != "text":
        return block
    return {**block, "text": f"<system>\n{block['text']}\n</system>"}


def _calls(message: Mapping[str, Any]) -> Iterator[Block]:
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            yield _call(call.get("id"), function)
    legacy = message.get("function_call")
    if isinstance(legacy, dict) and not calls:
        yield _call(legacy.get("name"), legacy)


def _call(id: Any, function: Mapping[str, Any]) -> Block:
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            arguments = {"arguments": arguments}
    if not isinstance(arguments, dict):
        arguments = {} if arguments is None else {"arguments": arguments}
    name = str(function.get("name") or "")
    return {"type": "tool_use", "id": _id(id), "name": name, "input": arguments}


def _reasoning(message: Mapping[str, Any]) -> Iterator[Block]:
    """Reasoning that a client sends back with its signature, in the form of OpenRouter."""
    details = message.get("reasoning_details")
    for detail in details if isinstance(details, list) else ():
        if not isinstance(detail, dict):
            continue
        if detail.get("type") == "reasoning.encrypted" and isinstance(detail.get("data"), str):
            yield {"type": "redacted_thinking", "data": detail["data"]}
        elif isinstance(detail.get("signature"), str) and detail["signature"]:
            text = detail.get("text")
            yield {
                "type": "thinking",
                "thinking": text if isinstance(text, str) else "",
                "signature": detail["signature"],
            }


def _id(value: Any) -> str:
    """An id of a call as Anthropic takes it; the same for a call and its result."""
    return _NOT_IN_ID.sub("_", str(value or "")) or "call"
