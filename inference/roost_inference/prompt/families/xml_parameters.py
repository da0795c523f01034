"""The tool calls of Qwen's coder models, Qwen 3.5 and others: a tag for each parameter.

    <tool_call>
    <function=NAME>
    <parameter=PLACE>
    Lisbon
    </parameter>
    </function>
    </tool_call>

The schema says how a value is written: a string as it is, any other value as JSON.
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from roost_inference.prompt.call_markup import (
    CALL_CLOSE,
    CALL_OPEN,
    CallMarkup,
    CallParser,
    Markers,
    Signature,
)
from roost_inference.prompt.families.opened_calls import OpenedCallParser
from roost_inference.prompt.families.plain_schemas import (
    Schema,
    alternatives,
    refuse_others,
    types_of,
    unwritable,
    values_of,
    with_definitions,
)
from roost_inference.prompt.families.plain_strings import is_limited, string_terminal
from roost_inference.prompt.families.xml_reader import (
    PARAMETER_END,
    VALUE_END,
    Parameters,
    XmlReader,
)
from roost_inference.prompt.schemas import schema_text

EXTRA_NAME = r"[A-Za-z0-9_.\-]{1,64}"
_NAME_FORBIDS = frozenset("<>\n\r")


class XmlParameters(CallMarkup):
    """See the module."""

    writes_json = False
    opening = CALL_OPEN
    parts = (CALL_OPEN, CALL_CLOSE)

    def rules(self, functions: Sequence[Signature], markers: Markers) -> list[str]:
        """See CallMarkup."""
        rules = [
            f"open: {markers.literal(CALL_OPEN)}",
            'more: "\\n" open call',
            f"ANY_VALUE: {string_terminal({}, PARAMETER_END)} {json.dumps(PARAMETER_END)}",
        ]
        calls = []
        for number, function in enumerate(functions):
            head = json.dumps(f"\n<function={function.name}>\n")
            calls.append(f"{head} parameters_{number}")
            rules += _parameters(f"parameters_{number}", function.parameters)
        end = f'"</function>\\n" {markers.literal(CALL_CLOSE)}'
        return [*rules, f"call: ({' | '.join(calls)}) {end}"]

    def parser(self, functions: Sequence[Signature]) -> CallParser:
        """See CallMarkup."""
        types = {function.name: parameter_types(function.parameters) for function in functions}
        return OpenedCallParser(CALL_OPEN, partial(XmlReader, types))


def parameter_types(schema: Schema) -> Parameters:
    """The types that each declared parameter may have."""
    return {
        name: frozenset().union(*(types_of(one) for one in alternatives(child, schema)))
        for name, child in _object_of(schema).get("properties", {}).items()
    }


def _object_of(schema: Schema) -> Mapping[str, Any]:
    """The one object with all parameters. Raises BadGrammar where there are several."""
    objects = alternatives(schema, schema)
    if len(objects) != 1:
        raise unwritable("it has several sets of parameters")
    return objects[0]


def _parameters(rule: str, schema: Schema) -> list[str]:
    """The rule of this name: all parameters, in the order in which they are declared."""
    whole = _object_of(schema)
    refuse_others(whole, "patternProperties", "minProperties", "maxProperties", "enum", "const")
    properties, rest = whole.get("properties", {}), whole.get("additionalProperties", True)
    required = list(whole.get("required", ()))
    undeclared = {name: rest for name in required if name not in properties}
    rules, steps = [], []
    for number, (name, child) in enumerate({**properties, **undeclared}.items()):
        if not name or _NAME_FORBIDS & set(name):
            raise unwritable(f"the name {name!r} can't be written")
        value = f"{rule}_{number}"
        head = json.dumps(f"<parameter={name}>\n", ensure_ascii=False)
        steps.append(f'({head} {value} "\\n"){"" if name in required else "?"}')
        rules += _value(value, child, schema)
    if rest is not False:
        steps.append(f"{rule}_extra*")
        rules += _extra(f"{rule}_extra", properties, rest, schema)
    return [*rules, f"{rule}: {' '.join(steps)}" if steps else f'{rule}: ""']


def _extra(rule: str, declared: Sequence[str], rest: Any, root: Schema) -> list[str]:
    """The rule of a parameter that is not declared."""
    names = [re.escape(name) for name in declared if re.fullmatch(EXTRA_NAME, name)]
    others = "".join(f" & ~/{name}/" for name in names)
    name = rule.upper()
    return [
        f"{name}: /{EXTRA_NAME}/{others}",
        f'{rule}: "<parameter=" {name} ">\\n" {rule}_value "\\n"',
        *_value(f"{rule}_value", rest, root),
    ]


def _value(rule: str, schema: Any, root: Schema) -> list[str]:
    """The rule of a value and of the tag that ends it."""
    rules, choices = [], []
    for number, one in enumerate(alternatives(schema, root)):
        types = types_of(one)
        if "string" in types and not is_limited(one):
            return [f"{rule}: ANY_VALUE"]  # which may be spelled like any other value, too
        if "string" in types:
            text = f"{rule}_{number}_TEXT".upper()
            rules.append(f"{text}: {string_terminal(one, PARAMETER_END)} {json.dumps(VALUE_END)}")
            choices.append(text)
        if others := sorted(types - {"string"}):
            value = f"{rule}_{number}_json"
            rules.append(f"{value}: %json {schema_text(_of_types(one, others, root))}")
            choices.append(f"{value} {json.dumps(VALUE_END)}")
    if not choices:
        raise unwritable("no value can be written for a parameter")
    return [*rules, f"{rule}: {' | '.join(choices)}"]


def _of_types(schema: Schema, types: Sequence[str], root: Schema) -> dict[str, Any]:
    """The schema for values of these types alone."""
    result = with_definitions(schema, root)
    values = values_of(schema)
    if values is None:
        return {**result, "type": types}
    del result["const" if "const" in schema else "enum"]
    result.pop("type", None)
    return {**result, "enum": [value for value in values if not isinstance(value, str)]}
