"""Declared tools and the form of the text → one llguidance grammar."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from roost_inference.errors import BadGrammar
from roost_inference.prompt.call_markup import CALL_CLOSE as CALL_CLOSE
from roost_inference.prompt.call_markup import CALL_OPEN as CALL_OPEN
from roost_inference.prompt.call_markup import CallMarkup, CallParser
from roost_inference.prompt.call_markup import Markers as Markers
from roost_inference.prompt.families.hermes import HERMES
from roost_inference.prompt.forms import form_of
from roost_inference.prompt.schemas import (
    SCHEMAS_BYTES_MAX,
    check_schema,
    definite,
    schema_text,
)
from roost_inference.wire.chat_call import ChatCall
from roost_inference.wire.message import FunctionTool

PARALLEL_CALLS_MAX = 8


def build_grammar(call: ChatCall, markers: Markers, markup: CallMarkup = HERMES) -> str | None:
    """The grammar of the whole answer, None where anything may be written. markup: how the model
    writes calls.

    Raises BadGrammar that names the tool or field whose schema can't be followed.
    """
    form = form_of(call)
    functions = call.callable_functions
    if not functions or call.tool_choice == "none":
        if form is not None:
            return markup.framed(form.grammar, form.body, markers)
        if not functions:
            return None
        return "\n".join(["%llguidance {}", *markup.without_calls(markers)]) + "\n"
    names = [function.name for function in functions]
    rules = ["%llguidance {}", *_arguments_rules(functions), *markup.rules(names, markers)]
    # A small model that has to call goes on and repeats itself: it calls once, unless asked.
    parallel = call.parallel_tool_calls
    repeats = parallel is True or (parallel is None and not call.must_call)
    more = f" more{{0,{PARALLEL_CALLS_MAX - 1}}}" if repeats else ""
    if call.must_call:
        rules.append(markup.forced(more))
    elif form is not None:
        if form.body is None:
            raise BadGrammar("This form of the text can't be combined with tools", param=form.param)
        rules.append(f"{markup.with_body(more)}\n{form.body}")
    else:
        rules += markup.free(more, markers)
    return "\n".join(rules) + "\n"


def _arguments_rules(functions: Sequence[FunctionTool]) -> list[str]:
    """A rule `arguments_N` for each function."""
    schemas = [_arguments_schema(function) for function in functions]
    rules = [
        f"arguments_{index}: %json {schema_text(schema)}" for index, schema in enumerate(schemas)
    ]
    if sum(map(len, rules)) > SCHEMAS_BYTES_MAX:  # before any of them is compiled
        raise BadGrammar(
            f"The schemas of the tools are larger than {SCHEMAS_BYTES_MAX} bytes together",
            param="tools",
        )
    for function, schema in zip(functions, schemas, strict=True):
        check_schema(schema, f"tool {function.name!r}", "tools")
    return rules


def _arguments_schema(function: FunctionTool) -> dict[str, Any]:
    given = {key: value for key, value in function.parameters.items() if value is not None}
    schema = {"type": "object", "properties": {}, **given}
    if schema["type"] != "object":
        raise BadGrammar(
            f"The schema of tool {function.name!r} must have type 'object'", param="tools"
        )
    return definite(schema)


def parser_of(call: ChatCall, markup: CallMarkup) -> Callable[[], CallParser] | None:
    """Makes a parser of an answer's markup, None where it has none."""
    may_call = bool(call.callable_functions) and call.tool_choice != "none"
    if not may_call and not markup.always_parses:
        return None
    names = frozenset(function.name for function in call.callable_functions)
    return partial(markup.parser, names)
