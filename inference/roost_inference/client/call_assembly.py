"""Puts the tool calls of a streamed answer together, however an engine numbers them."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from roost_inference.client.characters import whole
from roost_inference.errors import EngineFailed
from roost_inference.wire.ids import call_id

CALLS_MAX: Final = 256


@dataclass(frozen=True)
class ToolCall:
    """A complete call; `arguments` is JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(slots=True)
class _OpenCall:
    index: Any
    id: str = ""
    name: str = ""
    arguments: str = ""


class CallAssembly:
    """The calls of one answer. Indexes and ids may be missing, or the same in all of them.

    tools: the names that were offered; by these a name that comes in pieces is recognised.
    """

    def __init__(self, tools: Collection[str] = ()) -> None:
        self._tools = tools
        self._calls: list[_OpenCall] = []

    def add_all(self, message: Mapping[str, Any]) -> int:
        """Take the calls of a delta or message; how many characters their arguments have."""
        deltas = message.get("tool_calls") or ()
        if isinstance(deltas, Mapping):
            deltas = (deltas,)
        if not isinstance(deltas, list | tuple):
            raise EngineFailed("The engine sent tool calls that are not a list")
        size = sum(self._add(delta) for delta in deltas)
        legacy = message.get("function_call")
        if isinstance(legacy, Mapping) and not deltas:
            size += self._add({"function": legacy})
        return size

    def _add(self, delta: Any) -> int:
        function = delta.get("function") if isinstance(delta, Mapping) else None
        if not isinstance(function, Mapping):
            function = delta if isinstance(delta, Mapping) and "name" in delta else {}
        if not isinstance(delta, Mapping):
            raise EngineFailed("The engine sent a tool call that is not an object")
        name, id = str(function.get("name") or ""), str(delta.get("id") or "")
        # Llama and Anthropic name the arguments in their own words, and so do some servers.
        named = (function.get(name) for name in ("arguments", "parameters", "input"))
        arguments = next((one for one in named if one is not None), "")
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        if not (name or id or arguments):
            return 0
        if self._is_repeat(delta.get("index"), id, name, arguments):
            return 0
        call = self._call_at(delta.get("index"), id, name, arguments)
        call.id = call.id or id
        call.name = call.name or name
        call.arguments += arguments
        return len(arguments)

    def _is_repeat(self, index: Any, id: str, name: str, arguments: str) -> bool:
        """Whether the last call came again, whole, with its number and id; twice it may do harm."""
        last = self._calls[-1] if self._calls else None
        same = (index, id, name, arguments)
        return (
            bool(id and name and arguments and index is not None)
            and last is not None
            and (last.index, last.id, last.name, last.arguments) == same
            and _is_whole(arguments)
        )

    def _call_at(self, index: Any, id: str, name: str, arguments: str) -> _OpenCall:
        """The call a delta belongs to. Some engines number every call 0, or none, or give all the
        same id: there another id, or a name where the last call is whole, begins the next call.
        """
        same = [call for call in self._calls if index is None or call.index == index]
        current = same[-1] if same else None
        if current is not None:
            # Some engines make up another id for each piece of one call.
            begins = bool(name) or _is_whole(current.arguments)
            another_id = bool(id and current.id and id != current.id) and begins
            second_name = bool(name and current.name) and (
                name != current.name
                or (_is_whole(current.arguments) and bool(arguments))
                or (not id and not arguments)
            )
            if not another_id and not second_name:
                return current
        if len(self._calls) >= CALLS_MAX:
            raise EngineFailed(f"The engine sent more than {CALLS_MAX} tool calls")
        call = _OpenCall(index)
        self._calls.append(call)
        return call

    def so_far(self) -> Iterator[ToolCall]:
        """The calls as they stand, in their order; what has not come yet is empty."""
        for call in self._calls:
            yield ToolCall(call.id, call.name, call.arguments)

    def completed(self) -> tuple[ToolCall, ...]:
        """The calls, each with an id of its own. One without a name is no call."""
        ids: set[str] = set()
        calls = []
        for call in self._with_whole_names():
            if not call.name:
                continue
            id = call.id if call.id and call.id not in ids else call_id()
            ids.add(id)
            calls.append(ToolCall(id, call.name, whole(call.arguments) or "{}"))
        return tuple(calls)

    def _with_whole_names(self) -> list[_OpenCall]:
        """The calls, those joined of which one has the beginning of a name and the next its rest.

        Whether a second name begins another call shows only now: some engines give all calls the
        same index and no id.
        """
        joined: list[_OpenCall] = []
        for call in self._calls:
            before = joined[-1] if joined else None
            if before is not None and self._is_rest(before, call):
                before.name += call.name
                before.arguments += call.arguments
            else:
                joined.append(call)
        return joined

    def _is_rest(self, before: _OpenCall, call: _OpenCall) -> bool:
        is_same = call.index == before.index and call.id in ("", before.id)
        name = before.name + call.name
        is_piece = before.name not in self._tools and not before.arguments
        return is_same and is_piece and any(tool.startswith(name) for tool in self._tools)


def _is_whole(arguments: str) -> bool:
    try:
        return isinstance(json.loads(arguments), dict)
    except (ValueError, RecursionError):
        return False
