"""Gemma 4's way to write values: like JSON, with its own quotation mark and bare names.

{name:<|"|>text<|"|>,count:5,list:[true,null]}
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from roost_inference.prompt.call_markup import Markers
from roost_inference.prompt.families.json_text import DEPTH_MAX, BrokenMarkup
from roost_inference.prompt.families.plain_schemas import (
    Schema,
    alternatives,
    key_of,
    refuse_others,
    types_of,
    unwritable,
    values_of,
)
from roost_inference.prompt.families.plain_strings import delimited, string_terminal
from roost_inference.prompt.schemas import schema_text

QUOTE = '<|"|>'
_NAME = r"[^\s:,{}\[\]<>|\"]+"
_NAMES = re.compile(_NAME)
_SCALAR = re.compile(r"[^\s:,{}\[\]<>\"]+")
_NUMBER_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_PYTHONS = {"True": "true", "False": "false", "None": "null"}


class ValueRules:
    """Makes the rules of a grammar for values of a schema and of what it refers to.

    prefix: what the names of its rules begin with."""

    def __init__(self, root: Schema, prefix: str, markers: Markers) -> None:
        self.rules: list[str] = []
        self._root, self._prefix = root, prefix
        self._names: dict[str, str] = {}
        self._token = markers.token(QUOTE)
        self._quote = markers.literal(QUOTE)

    def rule(self, schema: Any) -> str:
        """The name of the rule of a value. Raises BadGrammar for a schema that can't be held."""
        key = key_of(schema)
        if key not in self._names:
            name = self._names[key] = f"{self._prefix}_{len(self._names)}"
            choices = [
                choice
                for number, one in enumerate(alternatives(schema, self._root))
                for choice in self._choices(f"{name}_{number}", one)
            ]
            if not choices:
                raise unwritable("no value can be written")
            self.rules.append(f"{name}: {' | '.join(choices)}")
        return self._names[key]

    def _choices(self, name: str, schema: Schema) -> list[str]:
        """How a value of a schema without references may be written."""
        values, types = values_of(schema), types_of(schema)
        if values is not None:
            return [self._written(value) for value in values]
        choices = ['"null"'] if "null" in types else []
        if "boolean" in types:
            choices += ['"true"', '"false"']
        if "integer" in types:
            kind = "number" if "number" in types else "integer"
            limits = {key: schema[key] for key in _NUMBER_LIMITS if key in schema}
            self.rules.append(f"{name}_number: %json {schema_text({'type': kind, **limits})}")
            choices.append(f"{name}_number")
        if "string" in types:
            choices.append(self._string(f"{name}_TEXT".upper(), schema))
        if "array" in types:
            choices.append(self._list(schema))
        if "object" in types:
            choices.append(self.object(f"{name}_object", schema))
        return choices

    def _string(self, name: str, schema: Schema) -> str:
        terminal = string_terminal(schema, QUOTE)
        if self._token is not None:
            self.rules.append(f"{name}: {terminal}")
            return f"{self._quote} {name} {self._quote}"
        self.rules.append(f"{name}: {terminal} {self._quote}")
        return f"{self._quote} {name}"

    def _list(self, schema: Schema) -> str:
        refuse_others(schema, "prefixItems")
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        if most == 0 or schema.get("items") is False:
            return '"[" "]"'
        item = self.rule(schema.get("items", True))
        rest = f'("," {item}){{{max(least - 1, 0)},{"" if most is None else most - 1}}}'
        return f'"[" {item} {rest} "]"' if least else f'"[" ({item} {rest})? "]"'

    def object(self, name: str, schema: Schema) -> str:
        """What an object of a schema without references looks like. Its rules have this name."""
        refuse_others(schema, "patternProperties", "minProperties", "maxProperties")
        rest = schema.get("additionalProperties", True)
        required = schema.get("required", ())
        properties = {**{key: rest for key in required}, **schema.get("properties", {})}
        for key in properties:
            if not _NAMES.fullmatch(key):
                raise unwritable(f"the name {key!r} can't be written")
        # As templates write them: in the order of the alphabet.
        keys = sorted(properties, key=str.lower)
        last = len(keys)
        first = more = '""'
        if rest is not False:
            extra = self._extra(name, keys, rest)
            more = f'("," {extra})*'
            first = f"({extra} {more})?"
        self.rules += [f"{name}_first_{last}: {first}", f"{name}_next_{last}: {more}"]
        for number, key in reversed(list(enumerate(keys))):
            pair = f"{json.dumps(f'{key}:', ensure_ascii=False)} {self.rule(properties[key])}"
            skips = key not in required
            for place, comma in (("first", ""), ("next", '"," ')):
                others = f" | {name}_{place}_{number + 1}" if skips else ""
                self.rules.append(
                    f"{name}_{place}_{number}: {comma}{pair} {name}_next_{number + 1}{others}"
                )
        return f'"{{" {name}_first_0 "}}"'

    def _extra(self, name: str, declared: list[str], rest: Any) -> str:
        """The name of the rule of a property that is not declared."""
        others = "".join(f" & ~/{delimited(re.escape(key))}/" for key in declared)
        terminal = f"{name}_NAME".upper()
        self.rules += [
            f"{terminal}: /{_NAME}/{others}",
            f'{name}_extra: {terminal} ":" {self.rule(rest)}',
        ]
        return f"{name}_extra"

    def _written(self, value: Any) -> str:
        """One value, as the parts of a rule."""
        if isinstance(value, str):
            if QUOTE in value:
                raise unwritable(f"a value of it contains {QUOTE!r}")
            return f"{self._quote} {json.dumps(value, ensure_ascii=False)} {self._quote}"
        if isinstance(value, list):
            return ' "," '.join(map(self._written, value)).join(('"[" ', ' "]"'))
        if isinstance(value, Mapping):
            pairs = [
                f"{json.dumps(f'{key}:', ensure_ascii=False)} {self._written(value[key])}"
                for key in sorted(value, key=str.lower)
            ]
            return ' "," '.join(pairs).join(('"{" ', ' "}"'))
        return json.dumps(json.dumps(value))


def object_of(text: str) -> str:
    """The JSON of an object in Gemma's form. Raises BrokenMarkup for what is none."""
    reader = _ValueReader(text)
    written = reader.read(0)
    reader.skip_blanks()
    if reader.at != len(text) or not written.startswith("{"):
        raise BrokenMarkup
    return written


class _ValueReader:
    """Reads a value; gives its JSON, in which numbers keep their spelling."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.at = 0

    def skip_blanks(self) -> None:
        while self._text[self.at : self.at + 1].isspace():
            self.at += 1

    def read(self, depth: int) -> str:
        if depth > DEPTH_MAX:
            raise BrokenMarkup
        self.skip_blanks()
        if self._takes(QUOTE):
            return json.dumps(self._quoted(), ensure_ascii=False)
        if self._takes("{"):
            return self._items("}", depth).join("{}")
        if self._takes("["):
            return self._items("]", depth).join("[]")
        scalar = _SCALAR.match(self._text, self.at)
        if scalar is None:
            raise BrokenMarkup
        self.at = scalar.end()
        word = _PYTHONS.get(scalar[0], scalar[0])
        try:
            json.loads(word, parse_constant=_refuse)
        except ValueError:
            raise BrokenMarkup from None
        return word

    def _items(self, end: str, depth: int) -> str:
        """The values up to the bracket, with their names where it closes an object."""
        found: list[str] = []
        self.skip_blanks()
        if self._takes(end):
            return ""
        while True:
            name = f"{json.dumps(self._name(), ensure_ascii=False)}: " if end == "}" else ""
            found.append(name + self.read(depth + 1))
            self.skip_blanks()
            if self._takes(end):
                return ", ".join(found)
            if not self._takes(","):
                raise BrokenMarkup

    def _name(self) -> str:
        self.skip_blanks()
        if self._takes(QUOTE):
            name = self._quoted()
        else:
            bare = _NAMES.match(self._text, self.at)
            if bare is None:
                raise BrokenMarkup
            name, self.at = bare[0], bare.end()
        self.skip_blanks()
        if not self._takes(":"):
            raise BrokenMarkup
        return name

    def _quoted(self) -> str:
        end = self._text.find(QUOTE, self.at)
        if end < 0:
            raise BrokenMarkup
        text, self.at = self._text[self.at : end], end + len(QUOTE)
        return text

    def _takes(self, wanted: str) -> bool:
        if not self._text.startswith(wanted, self.at):
            return False
        self.at += len(wanted)
        return True


def _refuse(name: str) -> NoReturn:
    """NaN and infinities are no JSON."""
    raise ValueError(name)
