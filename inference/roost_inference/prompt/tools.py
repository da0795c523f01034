"""Declared tools and the form of the text → one llguidance grammar."""

from collections.abc import Callable, Sequence
from functools import partial

from roost_inference.errors import BadGrammar
from roost_inference.prompt.call_markup import CALL_CLOSE as CALL_CLOSE
from roost_inference.prompt.call_markup import CALL_OPEN as CALL_OPEN
from roost_inference.prompt.call_markup import CallMarkup, CallParser, Signature
from roost_inference.prompt.call_markup import Markers as Markers
from roost_inference.prompt.families.hermes import HERMES
from roost_inference.prompt.forms import form_of
from roost_inference.prompt.schemas import (
    SCHEMAS_BYTES_MAX,
    check_grammar,
    check_schema,
    definite,
    left_out_formats,
    schema_text,
)
from roost_inference.wire.chat_call import ChatCall
from roost_inference.wire.fields import RequestWarning, not_heeded
from roost_inference.wire.message import FunctionTool

PARALLEL_CALLS_MAX = 8
# Of the formats that a warning names.
FORMATS_NAMED_MAX, FORMAT_CHARACTERS_MAX = 8, 64


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
    signatures = [_signature(function) for function in functions]
    _check(signatures)
    rules = ["%llguidance {}", *_rules(signatures, markers, markup)]
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


def _check(functions: Sequence[Signature]) -> None:
    """Raise BadGrammar for a schema that can't be followed, or too many of them."""
    sizes = (len(schema_text(function.parameters)) for function in functions)
    if sum(sizes) > SCHEMAS_BYTES_MAX:  # before any of them is compiled
        raise BadGrammar(
            f"The schemas of the tools are larger than {SCHEMAS_BYTES_MAX} bytes together",
            param="tools",
        )
    for function in functions:
        check_schema(function.parameters, f"tool {function.name!r}", "tools")


def _rules(functions: Sequence[Signature], markers: Markers, markup: CallMarkup) -> list[str]:
    """The rules of calls, and `arguments_N` for each function where the markup writes JSON."""
    if markup.writes_json:
        arguments = [
            f"arguments_{number}: %json {schema_text(function.parameters)}"
            for number, function in enumerate(functions)
        ]
        return [*arguments, *markup.rules(functions, markers)]
    rules = markup.rules(functions, markers)
    grammar = "\n".join(["%llguidance {}", *rules, markup.forced("")]) + "\n"
    check_grammar(grammar, "The schemas of the tools", "tools")
    return rules


def _signature(function: FunctionTool) -> Signature:
    given = {key: value for key, value in function.parameters.items() if value is not None}
    schema = {"type": "object", "properties": {}, **given}
    if schema["type"] != "object":
        raise BadGrammar(
            f"The schema of tool {function.name!r} must have type 'object'", param="tools"
        )
    return Signature(function.name, definite(schema))


def parser_of(call: ChatCall, markup: CallMarkup) -> Callable[[], CallParser] | None:
    """Makes a parser of an answer's markup, None where it has none."""
    may_call = bool(call.callable_functions) and call.tool_choice != "none"
    if not may_call and not markup.always_parses:
        return None
    return partial(markup.parser, [_signature(function) for function in call.callable_functions])


def unheeded_formats(call: ChatCall) -> list[RequestWarning]:
    """A warning that names the formats in the tools' schemas that calls are not held to."""
    if call.tool_choice == "none":
        return []
    formats = left_out_formats([function.parameters for function in call.callable_functions])
    if not formats:
        return []
    first = ", ".join(name[:FORMAT_CHARACTERS_MAX] for name in sorted(formats)[:FORMATS_NAMED_MAX])
    more = ", …" if len(formats) > FORMATS_NAMED_MAX else ""
    reason = f"calls are held to no format {first}{more}"
    return [not_heeded("tools[].function.parameters", reason)]
