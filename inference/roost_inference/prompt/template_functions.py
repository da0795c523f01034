"""What chat templates call, and what they raise."""

from collections.abc import Iterator
from typing import Any, NoReturn

import jinja2

# What templates raise over values that their authors did not think of.
UNRENDERED = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)


def listed(value: Any) -> list[Any]:
    """What a filter such as `map` gives; other values are no JSON."""
    if not isinstance(value, Iterator):
        raise TypeError(f"{type(value).__name__} is no JSON")
    return list(value)


def raise_exception(message: str) -> NoReturn:
    """Refuse the messages, for the reason that the template tells."""
    raise jinja2.TemplateError(message)
