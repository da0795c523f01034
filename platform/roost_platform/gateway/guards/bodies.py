"""Reads the body of a request as JSON within bounds, so that none holds the event loop for long.

A body is parsed by one call of a library, which keeps the interpreter until it is done. So what
makes that call long, many small values, is counted before it.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar

import pydantic_core

from roost_inference.errors import InvalidRequest
from roost_inference.wire.json_body import JSON_DEPTH_MAX, without_halves

# More would hold the event loop for longer than others may wait.
JSON_VALUES_MAX: Final = 120_000
HEAVY_BYTES: Final = 128 * 1024  # bodies above it are read in a thread
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

T = TypeVar("T")


async def work_on(size: int, work: Callable[..., T], *arguments: Any) -> T:
    """What this work on a body of so many bytes gives. It is done in a thread for a large body."""
    if size > HEAVY_BYTES:
        return await asyncio.to_thread(work, *arguments)
    return work(*arguments)


async def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object of this body. Raises InvalidRequest, which says what is wrong."""
    return await work_on(len(body), parse_object, body)


def parse_object(body: bytes) -> dict[str, Any]:
    """See read_object. Halves of characters, as in texts that are cut in the middle of an emoji,
    become U+FFFD; of keys that come twice the last one counts.
    """
    if _has_too_many_values(body):
        raise InvalidRequest(f"The body has more than {JSON_VALUES_MAX} values")
    value = _parsed(body.removeprefix(BYTE_ORDER_MARK))
    if not isinstance(value, dict):
        raise InvalidRequest("The body has to be a JSON object")
    _check(value)
    return value


def _parsed(body: bytes) -> Any:
    try:
        return _from_json(body)
    except ValueError as error:
        problem = error
    if b"\\u" in body:
        try:
            return _from_json(without_halves(body.decode()).encode())
        except ValueError as error:
            problem = error
    raise InvalidRequest(f"The body is not valid JSON: {problem}")


def _from_json(body: bytes) -> Any:
    # A cache of keys takes twice the time where a hundred thousand keys differ.
    cached: Literal["none", "keys"] = "none" if len(body) > HEAVY_BYTES else "keys"
    return pydantic_core.from_json(body, allow_inf_nan=False, cache_strings=cached)


def _has_too_many_values(body: bytes) -> bool:
    """Whether more values stand in this text than may be parsed; those inside of strings are none.

    Each step is one call that takes a few milliseconds for the largest body.
    """
    if _marks(body) <= JSON_VALUES_MAX:
        return False
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if bare.count(b'"') > 4 * JSON_VALUES_MAX:  # the quotes of a key and of a value
        return True
    return _marks(b"".join(bare.split(b'"')[::2])) > JSON_VALUES_MAX


def _marks(text: bytes) -> int:
    """Commas and opening brackets: at least as many as values, but for the outermost one."""
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def _check(value: Any) -> None:
    """Raise InvalidRequest for depth, and for numbers such as 1e999, which no JSON can repeat."""
    level = [value]
    for _ in range(JSON_DEPTH_MAX):
        deeper = []
        for item in level:
            for child in item.values() if type(item) is dict else item:
                kind = type(child)
                if kind is dict or kind is list:
                    deeper.append(child)
                elif kind is float and not math.isfinite(child):
                    raise InvalidRequest("The body has a number that is too large")
        if not deeper:
            return
        level = deeper
    raise InvalidRequest(f"The body is nested deeper than {JSON_DEPTH_MAX} levels")
