"""The form of an answer's text, from `response_format` or `structured_outputs`, as a grammar."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llguidance import LLMatcher, StructTag
from llguidance.gbnf_to_lark import gbnf_to_lark

from roost_inference.errors import BadGrammar
from roost_inference.prompt.schema_patterns import PATTERNS_COMBINED_MAX
from roost_inference.prompt.schemas import (
    SCHEMAS_BYTES_MAX,
    check_grammar,
    check_schema,
    definite,
    schema_text,
)
from roost_inference.wire.answer_options import StructuredOutputs
from roost_inference.wire.chat_call import ChatCall, ResponseFormat

OUTPUTS = "structured_outputs"
FORMAT = "response_format"
TAGS_MAX = 128
# Each rule of a grammar has lines of its own. The library follows rules that name the next one by
# recursion: 2,500 of them overrun a thread's stack and end the process.
LARK_LINES_MAX = 512
# Reading GBNF takes the number of its rules times its length.
GBNF_CHARACTERS_MAX = 2**15
GBNF_RULES_MAX = 256

# GBNF may have a rule `start`, too, and writes it with `::=`; Lark's may begin with `?`.
_LARK = re.compile(r"^[^\S\n]*+(?:%llguidance\b|\??start\s*+:(?!:))", re.MULTILINE)
# In GBNF: texts, sets of characters and comments; and the name of a rule that Lark begins with.
_START_IN_GBNF = re.compile(
    r'"(?:[^"\\]|\\.)*+"|\[(?:[^\]\\]|\\.)*+\]|#[^\n]*+|(?<![\w-])(?P<start>start)(?![\w-])'
)
# A schema inside a grammar in Lark; its words may also be written with escapes.
_PATTERN_IN_JSON = re.compile(r"pattern|format|\\u")


@dataclass(frozen=True, slots=True)
class Form:
    """grammar: of the whole text. body: the same as Lark's rule `body`, None where it can't be
    combined with others. param: the field that asks for it."""

    grammar: str
    body: str | None
    param: str


def form_of(call: ChatCall) -> Form | None:
    """The form that a request asks for, None for any text. Raises BadGrammar, which names the field
    that can't be followed."""
    outputs, form = call.structured_outputs, call.response_format
    if form is not None and form.type == "text":
        form = None
    if outputs is not None and form is not None:
        raise BadGrammar(f"A request has either {FORMAT} or {OUTPUTS}", param=OUTPUTS)
    if outputs is not None:
        return _structured(outputs)
    return None if form is None else _response_format(form)


def _response_format(form: ResponseFormat) -> Form:
    if form.type == "structural_tag":
        return _tagged(form.model_dump(exclude_none=True), FORMAT)
    if form.type == "json_object" or form.json_schema is None:
        wanted = {"type": "object", **(form.schema_ or {})}
        check_schema(wanted, FORMAT, FORMAT)
        return _json(wanted, FORMAT)
    schema = form.json_schema.schema_
    if form.json_schema.strict:
        schema = definite(schema)
    check_schema(schema, f"response format {form.json_schema.name!r}", FORMAT)
    return _json(schema, FORMAT)


def _structured(outputs: StructuredOutputs) -> Form:
    (kind,) = outputs.kinds
    param = f"{OUTPUTS}.{kind}"
    if outputs.choice is not None:
        texts = " | ".join(json.dumps(text, ensure_ascii=False) for text in outputs.choice)
        return _checked(_body(f"body: {texts}\n", param))
    if outputs.regex is not None:
        return _checked(_body(_regex_rule(outputs.regex), param))
    if outputs.grammar is not None:
        return _checked(Form(_own_grammar(outputs.grammar, param), None, param))
    if outputs.structural_tag is not None:
        return _tagged(_parsed(outputs.structural_tag, param), param)
    if outputs.json_ is None:
        return _json({"type": "object"}, param)
    schema = outputs.json_
    if isinstance(schema, str):
        schema = _parsed(schema, param)
    check_schema(schema, param, param)
    return _json(schema, param)


def _json(schema: Mapping[str, Any], param: str) -> Form:
    return _body(f"body: %json {schema_text(schema)}\n", param)


def _body(body: str, param: str) -> Form:
    return Form(f"%llguidance {{}}\nstart: body\n{body}", body, param)


def _regex_rule(regex: str) -> str:
    """The rule of a regular expression, delimited as Lark wants it."""
    grammar = json.loads(LLMatcher.grammar_from_regex(regex))["grammars"][0]["lark_grammar"]
    return str(grammar).replace("start:", "body:", 1) + "\n"


def _own_grammar(text: str, param: str) -> str:
    """A grammar in GBNF or Lark, as Lark. What could take long or overrun the stack is refused."""
    if _LARK.search(text):
        schemas = text.partition("%json")[2]
        _hold(len(_PATTERN_IN_JSON.findall(schemas)), PATTERNS_COMBINED_MAX, "patterns", param)
        _hold(text.count("\n"), LARK_LINES_MAX, "lines", param)
        return LLMatcher.grammar_from_lark(text)
    _hold(len(text), GBNF_CHARACTERS_MAX, "characters", param)
    _hold(text.count("::="), GBNF_RULES_MAX, "rules", param)
    own = _START_IN_GBNF.sub(lambda part: "own-start" if part["start"] else part[0], text)
    try:
        return LLMatcher.grammar_from_lark(gbnf_to_lark(own))
    except Exception as error:  # its parser raises what it raises, RecursionError too
        raise BadGrammar(f"{param} can't be followed: {error}", param=param) from error


def _hold(count: int, most: int, what: str, param: str) -> None:
    if count > most:
        raise BadGrammar(f"{param} has more than {most} {what}", param=param)


def _parsed(text: str, param: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadGrammar(f"{param} is not valid JSON: {error}", param=param) from error
    if not isinstance(value, dict):
        raise BadGrammar(f"{param} must be a JSON object", param=param)
    return value


def _tagged(value: Mapping[str, Any], param: str) -> Form:
    """Free text in which each trigger begins a tag with a schema: vLLM's `structures` and
    `triggers`, or xgrammar's format `triggered_tags`."""
    form = value.get("format")
    if isinstance(form, dict):
        if form.get("type") != "triggered_tags" or set(form) - {"type", "triggers", "tags"}:
            raise BadGrammar(f"{param}: of formats only triggered_tags is known", param=param)
        triggers, structures = form.get("triggers"), form.get("tags")
    else:
        triggers, structures = value.get("triggers"), value.get("structures")
    if not isinstance(triggers, list) or not all(isinstance(t, str) and t for t in triggers):
        raise BadGrammar(f"{param} needs a list of triggers", param=param)
    if not isinstance(structures, list) or not structures:
        raise BadGrammar(f"{param} needs a list of structures", param=param)
    if len(structures) > TAGS_MAX:
        raise BadGrammar(f"{param} has more than {TAGS_MAX} structures", param=param)
    if len(json.dumps(structures)) > SCHEMAS_BYTES_MAX:
        raise BadGrammar(
            f"{param}: the structures are larger than {SCHEMAS_BYTES_MAX} bytes together",
            param=param,
        )
    tags = [_tag(structure, triggers, param) for structure in structures]
    grammar = StructTag.to_grammar(tags, assume_special=False)
    return _checked(Form(grammar, None, param))


def _tag(structure: Any, triggers: Sequence[Any], param: str) -> StructTag:
    tag = structure if isinstance(structure, dict) else {}
    begin, end, schema = tag.get("begin"), tag.get("end", ""), tag.get("schema")
    content = tag.get("content")
    if isinstance(content, dict) and content.get("type") == "json_schema":
        schema = content.get("json_schema")
    if not (isinstance(begin, str) and isinstance(end, str) and isinstance(schema, dict)):
        raise BadGrammar(f"{param}: a structure has begin, schema and end", param=param)
    trigger = next((text for text in triggers if begin.startswith(text)), None)
    if trigger is None:
        raise BadGrammar(f"{param}: no trigger begins {begin!r}", param=param)
    check_schema(schema, f"{param} {begin!r}", param)
    grammar = json.loads(schema_text(schema))
    return StructTag(trigger=trigger, begin=begin, grammar=grammar, end=end)


def _checked(form: Form) -> Form:
    """The form, if it can be followed."""
    check_grammar(form.grammar, form.param, form.param)
    return form
