"""Strings that are written without quotation marks and escapes: their terminal in a grammar."""

import json
import re
from collections.abc import Sequence

from roost_inference.prompt.families.plain_schemas import Schema, unwritable, values_of

ANY = "(?s:.*)"


def string_terminal(schema: Schema, end: str) -> str:
    """The expression of a terminal: a string that the schema permits, without `end` in it.

    end: what follows the string and so can't be a part of it. Raises BadGrammar for a schema that
    permits only strings with it."""
    values = values_of(schema)
    if values is not None:
        texts = [value for value in values if isinstance(value, str)]
        if any(end in text for text in texts):
            raise unwritable(f"a value of it contains {end!r}")
        return f"({' | '.join(json.dumps(text, ensure_ascii=False) for text in texts)})"
    parts = [f"/{ANY}/"]
    least, most = schema.get("minLength"), schema.get("maxLength")
    if least or most is not None:
        parts.append(f"/(?s:.{{{int(least or 0)},{'' if most is None else int(most)}}})/")
    if pattern := schema.get("pattern"):
        choices = "|".join(_unanchored(choice) for choice in _choices(pattern))
        parts.append(f"/{delimited(choices)}/")
    parts.append(f"~/{ANY}{delimited(re.escape(end))}{ANY}/")
    return f"({' & '.join(parts)})"


def is_limited(schema: Schema) -> bool:
    """Whether not every string will do."""
    return values_of(schema) is not None or any(
        schema.get(key) for key in ("pattern", "minLength", "maxLength")
    )


def _choices(pattern: str) -> Sequence[str]:
    """The alternatives of a regular expression, outside its groups and classes."""
    choices: list[str] = []
    depth, in_class, begins, at = 0, False, 0, 0
    while at < len(pattern):
        piece = pattern[at]
        if piece == "|" and depth == 0 and not in_class:
            choices.append(pattern[begins:at])
            begins = at + 1
        if in_class:
            in_class = piece != "]"
        elif piece == "[":
            in_class = True
        elif piece in "()":
            depth += 1 if piece == "(" else -1
        at += 2 if piece == "\\" else 1
    return [*choices, pattern[begins:]]


def _unanchored(choice: str) -> str:
    """A choice that matches whole strings, of one that JSON Schema looks for anywhere in them."""
    begins = choice.startswith("^")
    bare = choice[1:] if begins else choice
    ends = re.search(r"(?<!\\)(?:\\\\)*\$$", bare) is not None
    bare = bare[:-1] if ends else bare
    return f"{'' if begins else ANY}(?:{bare}){'' if ends else ANY}"


def delimited(regex: str) -> str:
    """The expression as Lark takes it between slashes."""
    return re.sub(
        r"\\.|/|\n", lambda match: {"/": r"\/", "\n": r"\n"}.get(match[0], match[0]), regex
    )
