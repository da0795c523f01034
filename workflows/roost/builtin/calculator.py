"""Arithmetic on a syntax tree: only numbers and operators, every size bounded beforehand."""

import ast
import math
import operator
from collections.abc import Callable
from typing import Final

from roost.errors import ModelRetry

Number = int | float

EXPRESSION_CHARS_MAX: Final = 500
DEPTH_MAX: Final = 50
DIGITS_MAX: Final = 300  # of any whole number that goes into an operation or comes out of one
WHOLE_MAX: Final = 10**DIGITS_MAX
EXPONENT_MAX: Final = 1000
ARGUMENTS_MAX: Final = 100  # of one function

_BINARY: Final[dict[type[ast.operator], Callable[[Number, Number], Number]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_UNARY: Final[dict[type[ast.unaryop], Callable[[Number], Number]]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


def _round(number: Number, digits: Number = 0) -> Number:
    """As Python's, but a whole number whose -digits go beyond any number here: it would compute
    that power of ten first.
    """
    if not isinstance(digits, int) or abs(digits) > DIGITS_MAX:
        raise ModelRetry(f"round() takes whole digits from -{DIGITS_MAX} to {DIGITS_MAX}.")
    return round(number, digits) if digits else round(number)


# Of two operands within bounds each of these is done in microseconds; powers have a bound of their
# own, as has what round() is given.
_FUNCTIONS: Final[dict[str, Callable[..., Number]]] = {
    "sqrt": math.sqrt,
    "abs": abs,
    "round": _round,
    "floor": math.floor,
    "ceil": math.ceil,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "log": math.log,
    "log10": math.log10,
    "exp": math.exp,
    "min": min,
    "max": max,
}
# People and models write these; Python does not read them.
_TYPOGRAPHIC: Final = {0xD7: "*", 0xF7: "/", 0x2212: "-", ord("^"): "**"}
_CONSTANTS: Final = {"pi": math.pi, "e": math.e}


def evaluate(expression: str) -> str:
    """The value as text. Raises ModelRetry with what is wrong."""
    if len(expression) > EXPRESSION_CHARS_MAX:
        raise ModelRetry(f"The expression is longer than {EXPRESSION_CHARS_MAX} characters.")
    try:
        tree = ast.parse(expression.translate(_TYPOGRAPHIC).strip(), mode="eval")
        return _show(_value(tree.body, 0))
    except SyntaxError:
        raise ModelRetry(f"{expression!r} is not an arithmetic expression.") from None
    except ZeroDivisionError:
        raise ModelRetry("That divides by zero.") from None
    except (OverflowError, ValueError, TypeError) as error:
        raise ModelRetry(f"That can't be computed: {error}.") from None
    except (RecursionError, MemoryError):
        raise ModelRetry("The expression is nested too deeply.") from None


def _value(node: ast.expr, depth: int) -> Number:
    if depth > DEPTH_MAX:
        raise ModelRetry("The expression is nested too deeply.")
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _bounded(number)
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _bounded(_UNARY[type(op)](_value(operand, depth + 1)))
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left, depth + 1), _value(right, depth + 1))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _bounded(_BINARY[type(op)](_value(left, depth + 1), _value(right, depth + 1)))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            if len(args) > ARGUMENTS_MAX:
                raise ModelRetry(f"{name}() takes at most {ARGUMENTS_MAX} numbers.")
            return _bounded(_FUNCTIONS[name](*[_value(arg, depth + 1) for arg in args]))
    known = ", ".join([*_FUNCTIONS, *_CONSTANTS])
    raise ModelRetry(f"Only numbers, + - * / // % **, and these are known: {known}.")


def _power(base: Number, exponent: Number) -> Number:
    if abs(exponent) > EXPONENT_MAX:
        raise ModelRetry("That number is too large.")
    digits = math.log10(abs(base)) * exponent if base else 0.0
    if digits > DIGITS_MAX:
        raise ModelRetry("That number is too large.")
    result = base**exponent
    if isinstance(result, complex):
        raise ModelRetry("That has no real result.")
    return _bounded(result)


def _bounded(number: Number) -> Number:
    if isinstance(number, int) and abs(number) >= WHOLE_MAX:
        raise ModelRetry("That number is too large.")
    return number


def _show(number: Number) -> str:
    if isinstance(number, float):
        if not math.isfinite(number):
            raise ModelRetry("The result is not a finite number.")
        return f"{number:.12g}"
    return str(number)
