"""A page that becomes HTML in a thread when it is sent, so that no other request waits for it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.responses import HTMLResponse
from starlette.types import Receive, Scope, Send

from roost_platform.console.rendering import render


class PageResponse(HTMLResponse):
    """The HTML of a template and its context; headers and cookies may be set until it is sent.

    badges: reads the numbers of the menu, which are part of every page.
    """

    def __init__(
        self,
        template: str,
        context: Mapping[str, Any],
        status: int,
        badges: Callable[[], Awaitable[Mapping[str, int]]] | None = None,
    ) -> None:
        super().__init__(status_code=status)
        self._template, self._context, self._badges = template, context, badges

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Render the page in a thread, then send it."""
        context = self._context
        if self._badges is not None:
            context = {**context, "badges": await self._badges()}
        html = await asyncio.to_thread(render, self._template, context)
        self.body = html.encode("utf-8", "replace")  # one lone surrogate must not break a page
        self.headers["content-length"] = str(len(self.body))
        await super().__call__(scope, receive, send)
