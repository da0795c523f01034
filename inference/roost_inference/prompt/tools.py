"""Declared tools and the form of the text → one llguidance grammar."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from roost_inference.errors import BadGrammar
from roost_inference.prompt.forms import form_of
from roost_inference.prompt.schemas import check_schema, definite, schema_text
from roost_inference.wire.chat_call import ChatCall
from roost_inference.wire.message import FunctionTool

CALL_OPEN = "<tool_call>"
CALL_CLOSE = "</tool_call>"
PARALLEL_CALLS_MAX = 8
# All schemas of a request, as JSON.
SCHEMAS_BYTES_MAX = 2**18

_WITHOUT_CALLS = f"/(?s:.*)/ & ~/(?s:.*){CALL_OPEN}(?s:.*)/"


@dataclass(frozen=True, slots=True)
class Markers:
    """The tokens of `<tool_call>` and its end, None where the vocabulary has no such token."""

    open_token: int | None = None
    close_token: int | None = None


def build_grammar(call: ChatCall, markers: Markers) -> str | None:
    """The grammar of the whole answer, None where anything may be written.

    Raises BadGrammar that names the tool or field whose schema can't be followed.
    """
    form = form_of(call)
    functions = call.functions
    forced = call.forced_tool()
    if forced is not None:
        functions = [function for function in functions if function.name == forced]
    if not functions or call.tool_choice == "none":
        if form is not None:
            return form.grammar
        if not functions:
            return None
        return f"%llguidance {{}}\nstart: SAFE\nSAFE: {_WITHOUT_CALLS}\n"
    rules = ["%llguidance {}", *_call_rules(functions, markers)]
    must_call = forced is not None or call.tool_choice == "required"
    # A small model that has to call goes on and repeats itself: it calls once, unless asked.
    parallel = call.parallel_tool_calls
    repeats = parallel is True or (parallel is None and not must_call)
    more = f" more{{0,{PARALLEL_CALLS_MAX - 1}}}" if repeats else ""
    if must_call:
        rules.append(f"start: open call{more}")
    elif form is not None:
        if form.body is None:
            raise BadGrammar("This form of the text can't be combined with tools", param=form.param)
        rules.append(f"start: body | open call{more}\n{form.body}")
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
        rules.append(f"arguments_{index}: %json {schema_text(_arguments_schema(function))}")
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
    schema = {"type": "object", "properties": {}, **function.parameters}
    if schema["type"] != "object":
        raise BadGrammar(f"The schema of {where} must have type 'object'", param="tools")
    schema = definite(schema)
    check_schema(schema, where, "tools")
    return schema
