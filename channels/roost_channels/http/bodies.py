"""Bodies of HTTP, read no further than a bound, and JSON no deeper than one."""

import json
from collections.abc import Iterable
from typing import Any

import httpx2

# The longest answer that is read: 100 updates with the largest messages stay far below it.
ANSWER_BYTES_MAX = 32 * 1024 * 1024
# A refusal is a sentence or an HTML page; what is longer says nothing more.
ERROR_BYTES_MAX = 64 * 1024
# Rich messages nest lists in lists, a few levels each; nothing that networks send comes near.
JSON_DEPTH_MAX = 96
TOO_DEEP = f"JSON is nested deeper than {JSON_DEPTH_MAX} levels"


async def read_bounded(
    response: httpx2.Response, bytes_max: int = ANSWER_BYTES_MAX
) -> bytes | None:
    """The body of a streamed response; None when it is longer than `bytes_max`."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > bytes_max:
            return None
    return bytes(body)


async def read_answer(response: httpx2.Response) -> bytes | None:
    """The body of an API's answer, None when it is too long; a refusal may be much shorter."""
    return await read_bounded(
        response, ANSWER_BYTES_MAX if response.is_success else ERROR_BYTES_MAX
    )


def parse_json(body: bytes | str) -> Any:
    """The value of a JSON body. Raises ValueError if it is not JSON, or nested too deep."""
    try:
        value = json.loads(body)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    level = [value]
    for _ in range(JSON_DEPTH_MAX):
        level = [child for item in level for child in _children(item)]
        if not level:
            return value
    raise ValueError(TOO_DEEP)


def decoded(body: bytes | None) -> Any:
    """The value of a JSON body; None if it is not JSON, too deep or was too long."""
    try:
        return None if body is None else parse_json(body)
    except ValueError:
        return None


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
