"""Which rows of a conversation may be replaced, and what their texts are."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from roost_platform.gateway.request import ModelRequest

Row = Mapping[str, Any]
REPLACED_ROLES: Final = frozenset({"tool", "function", "user"})


def text_of(row: Row) -> str | None:
    """The text of a row; None if it has anything else, such as a picture."""
    content = row.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    texts = []
    for part in content:
        if not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
            return None
        if part.get("type") not in ("text", "input_text"):
            return None
        texts.append(part["text"])
    return "\n".join(texts)


def with_text(row: Row, text: str) -> Row:
    """The row with this text instead of its own; its form and its other fields stay."""
    is_list = isinstance(row.get("content"), list)
    return {**row, "content": [{"type": "text", "text": text}] if is_list else text}


def question(rows: Sequence[Row]) -> str:
    """The text of the last message of the user."""
    index = _last(rows, "user")
    return (text_of(rows[index]) or "") if index >= 0 else ""


def replaceable(request: ModelRequest) -> list[int]:
    """The rows that may be replaced, oldest first.

    The last message of the user stays, and so does all from the last one of the assistant on: the
    model has not seen the results of its calls. What stands before a breakpoint of a cache stays,
    too. Words of the assistant and of the system are never changed: a model imitates its own style.
    """
    rows = request.messages
    last_user, last_answer = _last(rows, "user"), _last(rows, "assistant")
    end = last_answer if last_answer >= 0 else len(rows)
    return [
        index
        for index in range(_breakpoint(request), end)
        if index != last_user
        and rows[index].get("role") in REPLACED_ROLES
        and text_of(rows[index]) is not None
    ]


def _breakpoint(request: ModelRequest) -> int:
    """How many rows a cache breakpoint covers.

    Those of a native body are counted from the end: each of its messages is one row or more.
    """
    rows = request.messages
    covered = _marked(rows)
    if request.native is not None and request.native.wire == "anthropic":
        native = request.native.body.get("messages")
        if isinstance(native, list) and (marked := _marked(native)):
            covered = max(covered, len(rows) - (len(native) - marked))
    return covered


def _marked(rows: Sequence[Any]) -> int:
    """The number of rows up to the last one with a breakpoint."""
    for index in range(len(rows) - 1, -1, -1):
        row = rows[index]
        if not isinstance(row, Mapping):
            continue
        content = row.get("content")
        parts = content if isinstance(content, list) else ()
        if row.get("cache_control") or any(
            isinstance(part, Mapping) and part.get("cache_control") for part in parts
        ):
            return index + 1
    return 0


def _last(rows: Sequence[Row], role: str) -> int:
    return next((i for i in range(len(rows) - 1, -1, -1) if rows[i].get("role") == role), -1)
