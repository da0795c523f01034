"""Schemas as forms of calls that are no JSON need them: without references and combinations."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from roost_inference.errors import BadGrammar

Schema = Mapping[str, Any]

ALTERNATIVES_MAX = 64
REFERENCES_MAX = 32
TYPES = ("string", "integer", "number", "boolean", "null", "array", "object")

# What limits a value; all other keywords only say something about it.
_OF_ALL = ("type", "enum", "const")
_OF_STRINGS = ("pattern", "minLength", "maxLength")
_OF_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_OF_LISTS = ("items", "prefixItems", "minItems", "maxItems")
_OF_OBJECTS = ("properties", "required", "additionalProperties", "patternProperties")
_OF_SIZES = ("minProperties", "maxProperties")
_LIMITS = frozenset((*_OF_ALL, *_OF_STRINGS, *_OF_NUMBERS, *_OF_LISTS, *_OF_OBJECTS, *_OF_SIZES))
_DEFINITIONS = ("$defs", "definitions")


def unwritable(reason: str) -> BadGrammar:
    """The error for a schema that a form of calls can't hold."""
    return BadGrammar(
        f"The model's form of tool calls can't hold a schema: {reason}", param="tools"
    )


def alternatives(schema: Any, root: Schema, depth: int = 0) -> list[dict[str, Any]]:
    """Schemas with limits alone, of which a value has to match any: what `$ref`, `anyOf`, `oneOf`
    and `allOf` say. root: where references point into. Raises BadGrammar for one that refers to
    itself at once, or has parts that contradict each other."""
    if depth > REFERENCES_MAX:
        raise unwritable("it refers to itself")
    if not isinstance(schema, Mapping):
        return [] if schema is False else [{}]
    found = [{key: value for key, value in schema.items() if key in _LIMITS}]
    for group in _groups(schema, root):
        options = [one for part in group for one in alternatives(part, root, depth + 1)]
        found = [_both(one, other) for one in found for other in options]
        if len(found) > ALTERNATIVES_MAX:
            raise unwritable(f"it has more than {ALTERNATIVES_MAX} alternatives")
    return found


def types_of(schema: Schema) -> frozenset[str]:
    """The types that a schema without references permits; integers are numbers, too."""
    given = schema.get("type", TYPES)
    types = frozenset((given,) if isinstance(given, str) else given)
    if "number" in types:
        types |= {"integer"}
    values = values_of(schema)
    return types if values is None else types & frozenset(map(type_of, values))


def values_of(schema: Schema) -> Sequence[Any] | None:
    """The values that `enum` or `const` permits, None where any may be."""
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if isinstance(values, list) else None


def type_of(value: Any) -> str:
    """The JSON type of a value."""
    if isinstance(value, bool):
        return "boolean"
    for kind, name in ((str, "string"), (int, "integer"), (float, "number"), (list, "array")):
        if isinstance(value, kind):
            return name
    return "null" if value is None else "object"


def with_definitions(schema: Schema, root: Schema) -> dict[str, Any]:
    """The schema with what it may refer to, as a whole of its own."""
    return {**schema, **{key: root[key] for key in _DEFINITIONS if key in root}}


def _groups(schema: Schema, root: Schema) -> list[Sequence[Any]]:
    """Lists of schemas; a value has to match one of each."""
    groups: list[Sequence[Any]] = []
    if "$ref" in schema:
        groups.append([_referred(schema["$ref"], root)])
    groups += [[part] for part in schema.get("allOf", ())]
    groups += [schema[key] for key in ("anyOf", "oneOf") if key in schema]
    return groups


def _referred(reference: Any, root: Schema) -> Any:
    """What a reference within the schema points to."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        raise unwritable(f"the reference {reference!r} leaves it")
    found: Any = root
    for step in unquote(reference[1:]).split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or name not in found:
            raise unwritable(f"the reference {reference!r} points to nothing")
        found = found[name]
    return found


def _both(one: Schema, other: Schema) -> dict[str, Any]:
    """What two schemas say together."""
    result = {**other, **one}
    for key in one.keys() & other.keys():
        if one[key] == other[key]:
            continue
        if key == "type":
            result[key] = sorted(types_of({key: one[key]}) & types_of({key: other[key]}))
        elif key == "required":
            result[key] = [*one[key], *(name for name in other[key] if name not in one[key])]
        elif key == "properties" and not one[key].keys() & other[key].keys():
            result[key] = {**one[key], **other[key]}
        else:
            raise unwritable(f"its parts limit {key!r} in two ways")
    return result


def refuse_others(schema: Schema, *keywords: str) -> None:
    """Raise BadGrammar for a schema with one of these limits, which can't be held."""
    for keyword in keywords:
        if keyword in schema:
            raise unwritable(f"{keyword!r} is not supported in it")


def key_of(schema: Any) -> str:
    """The same for equal schemas."""
    return json.dumps(schema, sort_keys=True)
