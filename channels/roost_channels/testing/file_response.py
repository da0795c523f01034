"""Serves the files of the fakes so that a sandbox's browser never runs what a user sent."""

import re

from aiohttp import web

_SHOWN = re.compile(
    r"image/(png|jpeg|gif|webp)|(audio|video)/[a-z0-9.-]+|application/pdf|text/plain"
)


def _headers(content_type: str) -> dict[str, str]:
    """The headers of a file; `content_type` is what its sender claimed."""
    essence = content_type.partition(";")[0].strip().lower()
    return {
        "Content-Type": essence if _SHOWN.fullmatch(essence) else "application/octet-stream",
        "Content-Disposition": "attachment",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
    }


def file_response(data: bytes, content_type: str) -> web.Response:
    """A response that carries the file under `_headers`."""
    return web.Response(body=data, headers=_headers(content_type))
