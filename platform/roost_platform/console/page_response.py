"""A page that becomes HTML in a thread when it is sent, so that no other request waits for it."""

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.responses import HTMLResponse
from starlette.types import Receive, Scope, Send

from roost_platform.console.rendering import render


class PageResponse(HTMLResponse):
    """The HTML of a template and its context; headers and cookies may be set until it is sent."""

    def __init__(self, template: str, context: Mapping[str, Any], status: int) -> None:
        super().__init__(status_code=status)
        self._template, self._context = template, context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Render the page in a thread, then send it."""
        html = await asyncio.to_thread(render, self._template, self._context)
        self.body = html.encode("utf-8", "replace")  # one lone surrogate must not break a page
        self.headers["content-length"] = str(len(self.body))
        await super().__call__(scope, receive, send)
