"""What a function does, as text that is the same in every process: definition hashes rest on it."""

import inspect
from collections.abc import Callable
from types import CodeType
from typing import Any, Final

PLAIN: Final = (str, int, float, bool, bytes, type(None))


def code_of(function: Callable[..., Any]) -> str:
    """The function's source, or its instructions where it was made at run time."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return _instructions(function.__code__)


def held_by(function: Callable[..., Any]) -> dict[str, str]:
    """The plain values of the cells that the function uses: two functions of one source differ by
    them.
    """
    try:
        held = inspect.getclosurevars(function).nonlocals
    except ValueError:  # a cell is empty while its function is being defined
        return {}
    return {name: repr(value) for name, value in held.items() if isinstance(value, PLAIN)}


def _instructions(code: CodeType) -> str:
    return code.co_code.hex() + "".join(_constant(value) for value in code.co_consts)


def _constant(value: object) -> str:
    """A constant without its address, and a set in one order: both differ in each process."""
    if isinstance(value, CodeType):
        return _instructions(value)
    if isinstance(value, frozenset):
        return repr(sorted(map(repr, value)))
    return repr(value)
