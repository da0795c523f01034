"""A request's body as JSON: bounded in depth, strict in form, lenient with cut emojis."""

import json
import re
from typing import Any, NoReturn

from roost_inference.errors import InvalidRequest

JSON_DEPTH_MAX = 96

# Every escape in JSON text, a pair of surrogates as one; a single one is half a character.
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


def parse_json(body: bytes) -> Any:
    """The body as JSON. Raises InvalidRequest with code invalid_json, also for one nested too deep.

    Halves of surrogate pairs, which texts cut in the middle of an emoji have, become U+FFFD.
    """

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    try:
        text = without_halves(body.decode("utf-8"))
        value = json.loads(text, parse_constant=refuse)
    except RecursionError:
        reject(f"The body is nested deeper than {JSON_DEPTH_MAX} levels", code="invalid_json")
    except ValueError as error:
        reject(f"The body is not valid JSON: {error}", code="invalid_json")
    if is_too_deep(value):
        reject(f"The body is nested deeper than {JSON_DEPTH_MAX} levels", code="invalid_json")
    return value


def without_halves(text: str) -> str:
    """JSON text with U+FFFD for each escaped half of a surrogate pair."""
    if "\\u" not in text:
        return text
    return _ESCAPE.sub(lambda m: r"\ufffd" if m["half"] else m[0], text)


def is_too_deep(value: Any) -> bool:
    """Whether JSON is nested deeper than JSON_DEPTH_MAX levels."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > JSON_DEPTH_MAX:
            return True
        level = [
            child
            for item in level
            if isinstance(item, (dict, list))
            for child in (item.values() if isinstance(item, dict) else item)
        ]
    return False


def reject(message: str, *, param: str | None = None, code: str | None = None) -> NoReturn:
    """Raise InvalidRequest with these fields."""
    error = InvalidRequest(message, param=param)
    if code is not None:
        error.code = code
    raise error
