"""JSON schemas as the grammar takes them: checked, closed, and with one way to write a value."""

import json
from collections.abc import Mapping
from typing import Any

from llguidance import LLMatcher

from roost_inference.errors import BadGrammar
from roost_inference.prompt.schema_patterns import PATTERNS_COMBINED_MAX, combined_patterns

# One schema as JSON: compiling grows with the square of its properties.
SCHEMA_BYTES_MAX = 2**16
# All schemas of a request, as JSON.
SCHEMAS_BYTES_MAX = 2**18
# In all objects of a schema. Where any of them may come next, each makes a step dearer: a thousand
# cost twenty milliseconds a token.
OPTIONAL_PROPERTIES_MAX = 1024

# With one way to write a value small models make fewer errors, and the markup is forced tokens.
_LAYOUT = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "coerce_one_of": True,
}
# `format` is an annotation in JSON Schema: one llguidance can't enforce is left out.
_FORMATS = (
    *("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"),
)
_MAPS = ("properties", "patternProperties", "$defs", "definitions")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLES = ("items", "additionalProperties", "contains")
_COMBINED = frozenset(("anyOf", "oneOf", "allOf", "$ref", "patternProperties"))


def schema_text(schema: Mapping[str, Any]) -> str:
    """The schema as JSON, with the layout of what it describes."""
    return json.dumps({**schema, "x-guidance": _LAYOUT})


def check_schema(schema: Mapping[str, Any], where: str, param: str) -> None:
    """Raise BadGrammar, which says where, for a schema that can't be followed to its end."""
    text = schema_text(schema)
    if len(text) > SCHEMA_BYTES_MAX:
        raise BadGrammar(
            f"The schema of {where} is larger than {SCHEMA_BYTES_MAX} bytes", param=param
        )
    if _optional_properties(schema) > OPTIONAL_PROPERTIES_MAX:
        raise BadGrammar(
            f"The schema of {where} has more than {OPTIONAL_PROPERTIES_MAX} properties that are "
            "not required",
            param=param,
        )
    if combined_patterns(schema) > PATTERNS_COMBINED_MAX:
        raise BadGrammar(
            f"The schema of {where} combines its parts and has more than {PATTERNS_COMBINED_MAX} "
            "patterns and formats",
            param=param,
        )
    try:
        problem = LLMatcher.validate_grammar(LLMatcher.grammar_from_json_schema(text))
    except ValueError as error:
        problem = str(error)
    _refuse(problem, f"The schema of {where}", param)


def check_grammar(grammar: str, what: str, param: str) -> None:
    """Raise BadGrammar, which begins with `what`, for a grammar that can't be followed."""
    _refuse(LLMatcher.validate_grammar(grammar), what, param)


def _refuse(problem: str, what: str, param: str) -> None:
    if problem and not problem.startswith("WARNING"):
        reason = problem.strip().splitlines()[0]
        raise BadGrammar(f"{what} can't be followed: {reason}", param=param)


def _optional_properties(schema: Any) -> int:
    """How many properties that may be missing all objects of a schema have together."""
    if isinstance(schema, list):
        return sum(map(_optional_properties, schema))
    if not isinstance(schema, dict):
        return 0
    count = sum(map(_optional_properties, schema.values()))
    properties, required = schema.get("properties"), schema.get("required")
    if isinstance(properties, dict):
        names = map(str, required) if isinstance(required, list) else ()
        count += len(properties.keys() - set(names))
    return count


def definite(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with its objects closed: properties that nobody declared are not made up.

    Objects that say `additionalProperties`, or are combined from parts, stay as they are.
    """
    result: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _MAPS and isinstance(value, dict):
            result[key] = {name: _definite(child) for name, child in value.items()}
        elif key in _LISTS and isinstance(value, list):
            # The parts of allOf hold together: closing one would refuse the others' properties.
            result[key] = value if key == "allOf" else [_definite(child) for child in value]
        elif key in _SINGLES:
            result[key] = _definite(value)
        elif key != "format" or value in _FORMATS:
            result[key] = value
    is_open = "additionalProperties" not in schema and not _COMBINED & schema.keys()
    if "properties" in schema and is_open:
        result["additionalProperties"] = False
    return result


def left_out_formats(schema: Any) -> set[str]:
    """The formats that `definite` leaves out of a schema."""
    if isinstance(schema, list):
        return set().union(*map(left_out_formats, schema))
    if not isinstance(schema, dict):
        return set()
    found = {str(schema["format"])} if schema.get("format", "date") not in _FORMATS else set()
    for key in _MAPS:
        if isinstance(children := schema.get(key), dict):
            found |= left_out_formats(list(children.values()))
    for key in (*_LISTS, *_SINGLES):
        if key != "allOf":
            found |= left_out_formats(schema.get(key))
    return found


def _definite(schema: Any) -> Any:
    return definite(schema) if isinstance(schema, dict) else schema
