"""How a tool's result is kept for a flow, whose function gets it as a value of its type."""

import inspect
from typing import Any, Final, get_type_hints

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError, to_json

from roost.errors import ToolFailed
from roost.execution.secret_values import has_secret
from roost.text import result_text
from roost.tools import Tool
from roost.waits import Wait

HIDDEN: Final = (
    "{tool} ran, but its result has a secret that hides itself, and the journal would keep "
    "asterisks. Return an id of it, or its text, which the journal then shows."
)
TEXTS: Final = (inspect.Signature.empty, Any, str)


def kind_of(tool: Tool) -> Any:
    """What the tool's function is annotated to return; `str` without an annotation."""
    try:
        return get_type_hints(tool.function).get("return", str)
    except Exception:  # a quoted annotation is code, which may raise anything
        return str


def adapter_of(kind: Any) -> TypeAdapter[Any] | None:
    """What checks values of this type, None for results that stay texts."""
    if kind in TEXTS or kind is type(None) or _is_wait(kind):
        return None
    try:
        return TypeAdapter[Any](kind)
    except Exception:  # types bring code of their own, which may raise anything
        return None


def text_of(tool: Tool, value: Any, *, is_typed: bool) -> str:
    """The result as text. is_typed: it tells its type, as JSON where the function returns more than
    texts.

    For a model None is `done` and a text stays as it is; for `str | None` or `str | int` that would
    be another value. Raises ToolFailed for a secret, of which the flow would get asterisks.
    """
    if not is_typed:
        return result_text(value)
    if has_secret(value):
        raise ToolFailed(HIDDEN.format(tool=tool.name))
    if adapter_of(kind_of(tool)) is None:
        return result_text(value)
    try:
        return to_json(value).decode()
    except PydanticSerializationError:
        return result_text(value)


def _is_wait(kind: object) -> bool:
    return kind == Wait or (isinstance(kind, type) and issubclass(kind, Wait))
