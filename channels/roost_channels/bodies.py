"""Bodies of HTTP answers, read no further than a bound."""

import json
from typing import Any

import httpx2

# The longest answer that is read: 100 updates with the largest messages stay far below it.
ANSWER_BYTES_MAX = 32 * 1024 * 1024
# A refusal is a sentence or an HTML page; what is longer says nothing more.
ERROR_BYTES_MAX = 64 * 1024


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


def decoded(body: bytes | None) -> Any:
    """The value of a JSON body; None if it is not JSON or was too long."""
    try:
        return None if body is None else json.loads(body)
    except (ValueError, RecursionError):  # too deep to be an answer
        return None
