"""What the Bot API's schema says about the calls a bot made, read from aiogram's own classes.

The real server ignores parameters it does not know, and so does the fake: what it would have
passed over in silence is listed here after the fact. aiogram's classes are generated from the
published schema and pinned with it, so no copy of the schema has to be kept in step.
"""

import functools
import json
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from roost_channels.testing.loopback import Call

# Parameters that every method takes beside its own.
ALWAYS = frozenset({"method"})


@functools.cache
def _methods() -> dict[str, type[BaseModel]]:
    # Imported late: it takes a second, and a sandbox never asks.
    from aiogram import methods

    return {
        str(known.__api_method__).lower(): known
        for known in vars(methods).values()
        if isinstance(known, type)
        and issubclass(known, methods.TelegramMethod)
        and known is not methods.TelegramMethod
    }


def known_methods() -> set[str]:
    """Their names in lower case."""
    return set(_methods())


def complaints(call: Call) -> list[str]:
    """What is wrong with a call by the schema; empty when nothing is."""
    schema = _methods().get(call.method.lower())
    if schema is None:
        return [f"{call.method}: no such method"]
    fields = schema.model_fields
    given = {
        name: value
        for name, value in call.parameters.items()
        if name not in ALWAYS and not _is_upload(value)
    }
    uploads = {name for name, value in call.parameters.items() if _is_upload(value)}
    # A file attached under a name of its own is no parameter.
    wrong = [f"{name}: no such parameter" for name in given if name not in fields]
    values = {
        name: _decoded(fields[name], value) for name, value in given.items() if name in fields
    }
    values.update({name: "attach://" for name in uploads if name in fields})
    try:
        read = schema.model_validate(values)
    except ValidationError as error:
        return [f"{call.method}: {text}" for text in [*wrong, *_first_of_each(error)]]
    wrong += [f"{path}: no such field" for path in unknown_fields(read) if "." in path]
    return [f"{call.method}: {text}" for text in wrong]


def _is_upload(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"file_name", "size"}


def _decoded(field: Any, value: Any) -> Any:
    """The record decodes what looks like JSON: text fields get their text back."""
    if isinstance(value, list | dict) and _is_plain_text(field.annotation):
        return json.dumps(value, ensure_ascii=False)
    return value


def _is_plain_text(annotation: Any) -> bool:
    parts = get_args(annotation) or (annotation,)
    return str in parts and not any(
        isinstance(part, type) and issubclass(part, BaseModel) for part in parts
    )


def _first_of_each(error: ValidationError) -> list[str]:
    """One complaint for each parameter; unions would fail once for each of their members."""
    seen: dict[str, str] = {}
    for problem in error.errors(include_url=False, include_context=False):
        path = [str(step) for step in problem["loc"]]
        seen.setdefault(path[0] if path else "", f"{'.'.join(path)}: {problem['msg']}")
    return list(seen.values())


def unknown_fields(model: Any, path: str = "") -> Iterator[str]:
    """Fields that the schema does not know, at any depth of something that aiogram has read."""
    if isinstance(model, BaseModel):
        for name in model.model_extra or {}:
            yield f"{path}.{name}" if path else name
        for name in type(model).model_fields:
            yield from unknown_fields(getattr(model, name), f"{path}.{name}" if path else name)
    elif isinstance(model, list | tuple):
        for index, inner in enumerate(model):
            yield from unknown_fields(inner, f"{path}.{index}" if path else str(index))
