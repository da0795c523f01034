"""Checks recorded calls against the Bot API's schema, read from aiogram's own classes.

The real server ignores parameters it does not know, and so does the fake; this module lists them
afterwards. aiogram generates its classes from the published schema, so the fake needs no copy.
"""

import functools
import json
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from roost_channels.testing.loopback import Call

# Parameters that every method accepts.
ALWAYS = frozenset({"method"})


@functools.cache
def _methods() -> dict[str, type[BaseModel]]:
    # Imported late: the import takes a second, and a sandbox never needs it.
    from aiogram import methods

    return {
        str(schema.__api_method__).lower(): schema
        for schema in vars(methods).values()
        if isinstance(schema, type)
        and issubclass(schema, methods.TelegramMethod)
        and schema is not methods.TelegramMethod
    }


def known_methods() -> set[str]:
    """The names of all Bot API methods, in lower case."""
    return set(_methods())


def complaints(call: Call) -> list[str]:
    """What the schema does not allow in a call; empty when the call is right."""
    schema = _methods().get(call.method.lower())
    if schema is None:
        return [f"{call.method}: no such method"]
    fields = schema.model_fields
    values = {
        name: value
        for name, value in call.parameters.items()
        if name not in ALWAYS and not _is_upload(value)
    }
    uploads = {name for name, value in call.parameters.items() if _is_upload(value)}
    # A file attached under a name of its own is no parameter.
    wrong = [f"{name}: no such parameter" for name in values if name not in fields]
    known = {
        name: _decoded(fields[name], value) for name, value in values.items() if name in fields
    }
    known.update({name: "attach://" for name in uploads if name in fields})
    try:
        read = schema.model_validate(known)
    except ValidationError as error:
        return [f"{call.method}: {text}" for text in [*wrong, *_first_of_each(error)]]
    wrong += [f"{path}: no such field" for path in unknown_fields(read) if "." in path]
    return [f"{call.method}: {text}" for text in wrong]


def _is_upload(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"file_name", "size"}


def _decoded(field: Any, value: Any) -> Any:
    """The value as the schema expects it: text that looked like JSON becomes text again."""
    if isinstance(value, list | dict) and _is_plain_text(field.annotation):
        return json.dumps(value, ensure_ascii=False)
    return value


def _is_plain_text(annotation: Any) -> bool:
    parts = get_args(annotation) or (annotation,)
    return str in parts and not any(
        isinstance(part, type) and issubclass(part, BaseModel) for part in parts
    )


def _first_of_each(error: ValidationError) -> list[str]:
    """One complaint per parameter; a union reports an error for each of its members."""
    first: dict[str, str] = {}
    for problem in error.errors(include_url=False, include_context=False):
        path = [str(step) for step in problem["loc"]]
        first.setdefault(path[0] if path else "", f"{'.'.join(path)}: {problem['msg']}")
    return list(first.values())


def unknown_fields(model: Any, path: str = "") -> Iterator[str]:
    """Paths of fields that the schema does not know, at any depth of an aiogram object."""
    if isinstance(model, BaseModel):
        for name in model.model_extra or {}:
            yield f"{path}.{name}" if path else name
        for name in type(model).model_fields:
            yield from unknown_fields(getattr(model, name), f"{path}.{name}" if path else name)
    elif isinstance(model, list | tuple):
        for index, inner in enumerate(model):
            yield from unknown_fields(inner, f"{path}.{index}" if path else str(index))
