"""Declared tools and response formats → one llguidance grammar; schemas checked and closed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llguidance import LLMatcher

from roost_inference.errors import BadGrammar
from roost_inference.wire.chat_call import ChatCall
from roost_inference.wire.message import FunctionTool

CALL_OPEN = "<tool_call>"
CALL_CLOSE = "</tool_call>"
PARALLEL_CALLS_MAX = 8
# One schema and all of a request, as JSON: compiling grows with the square of one's properties.
SCHEMA_BYTES_MAX = 2**16
SCHEMAS_BYTES_MAX = 2**18

_WITHOUT_CALLS = f"/(?s:.*)/ & ~/(?s:.*){CALL_OPEN}(?s:.*)/"

# With one way to write a value small models make fewer errors, and the markup is forced tokens.
_LAYOUT = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "coerce_one_of": True,
}
# `format` is an annotation in JSON Schema: one llguidance can't enforce is left out.
_FORMATS = frozenset(
    ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri")
)
_MAPS = ("properties", "patternProperties", "$defs", "definitions")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLES = ("items", "additionalProperties", "contains")
_COMBINED = frozenset(("anyOf", "oneOf", "allOf", "$ref", "patternProperties"))


@dataclass(frozen=True, slots=True)
class Markers:
    """The tokens of `<tool_call>` and its end, None where the vocabulary has no such token."""

    open_token: int | None = None
    close_token: int | None = None


def build_grammar(call: ChatCall, markers: Markers) -> str | None:
    """The grammar of the whole answer, None where anything may be written.

    Raises BadGrammar that names the tool or field whose schema can't be followed.
    """
    body = _format_rule(call)
    functions = call.callable_functions
    if not functions:
        return None if body is None else f"%llguidance {{}}\nstart: body\n{body}"
    if call.tool_choice == "none":
        if body is not None:
            return f"%llguidance {{}}\nstart: body\n{body}"
        return f"%llguidance {{}}\nstart: SAFE\nSAFE: {_WITHOUT_CALLS}\n"
    rules = ["%llguidance {}", *_call_rules(functions, markers)]
    more = "" if call.parallel_tool_calls is False else f" more{{0,{PARALLEL_CALLS_MAX - 1}}}"
    if call.must_call:
        rules.append(f"start: open call{more}")
    elif body is not None:
        rules.append(f"start: body | open call{more}\n{body}")
    else:
        # The lazy head ends free text at the first <tool_call>: from there only a call can follow.
        rules += ["TEXT: /(?s:.*)/", f'head[lazy]: TEXT "{CALL_OPEN}"']
        opening = "head"
        if markers.open_token is not None:
            opening = f"(head | TEXT <[{markers.open_token}]>)"
        rules.append(f"start: TEXT | {opening} call{more}")
    return "\n".join(rules) + "\n"


def _call_rules(functions: Sequence[FunctionTool], markers: Markers) -> list[str]:
    """Rules `open`, `call` (what follows it) and `more` (one more call)."""
    opening, closing = f'"{CALL_OPEN}"', f'"{CALL_CLOSE}"'
    if markers.open_token is not None:
        opening = f"<[{markers.open_token}]>"
    if markers.close_token is not None:
        closing = f"<[{markers.close_token}]>"
    rules, bodies = [], []
    for index, function in enumerate(functions):
        head = f'\n{{"name": {json.dumps(function.name)}, "arguments": '
        bodies.append(f"{json.dumps(head)} arguments_{index}")
        rules.append(f"arguments_{index}: %json {_schema_text(_arguments_schema(function))}")
    if sum(map(len, rules)) > SCHEMAS_BYTES_MAX:
        raise BadGrammar(
            f"The schemas of the tools are larger than {SCHEMAS_BYTES_MAX} bytes together",
            param="tools",
        )
    rules.append(f"open: {opening}")
    rules.append(f'call: ({" | ".join(bodies)}) "}}\\n" {closing}')
    rules.append('more: "\\n" open call')
    return rules


def _arguments_schema(function: FunctionTool) -> dict[str, Any]:
    where = f"tool {function.name!r}"
    given = {key: value for key, value in function.parameters.items() if value is not None}
    schema = {"type": "object", "properties": {}, **given}
    if schema["type"] != "object":
        raise BadGrammar(f"The schema of {where} must have type 'object'", param="tools")
    schema = definite(schema)
    _check(schema, where, "tools")
    return schema


def _format_rule(call: ChatCall) -> str | None:
    form = call.response_format
    if form is None or form.type == "text":
        return None
    if form.type == "json_object" or form.json_schema is None:
        return f"body: %json {_schema_text({'type': 'object'})}\n"
    schema = form.json_schema.schema_
    if form.json_schema.strict:
        schema = definite(schema)
    _check(schema, f"response format {form.json_schema.name!r}", "response_format")
    return f"body: %json {_schema_text(schema)}\n"


def _schema_text(schema: Mapping[str, Any]) -> str:
    return json.dumps({**schema, "x-guidance": _LAYOUT})


def _check(schema: Mapping[str, Any], where: str, param: str) -> None:
    text = _schema_text(schema)
    if len(text) > SCHEMA_BYTES_MAX:
        raise BadGrammar(
            f"The schema of {where} is larger than {SCHEMA_BYTES_MAX} bytes", param=param
        )
    try:
        grammar = LLMatcher.grammar_from_json_schema(text)
        problem = LLMatcher.validate_grammar(grammar)
    except ValueError as error:
        problem = str(error)
    if problem and not problem.startswith("WARNING"):
        reason = problem.strip().splitlines()[0]
        raise BadGrammar(f"The schema of {where} can't be followed: {reason}", param=param)


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


def _definite(schema: Any) -> Any:
    return definite(schema) if isinstance(schema, dict) else schema
