"""A page that becomes HTML in a thread when it is sent, so that no other request waits for it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, ParamSpec, TypeVar

from starlette.responses import HTMLResponse
from starlette.types import Receive, Scope, Send

from roost_platform.console.rendering import render

# Threads share the interpreter with the event loop, which waits for its turn behind each of them
# dozens of times in a request. Two, so that a short page need not wait for a long one.
PAGE_THREADS = 2

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_threads = ThreadPoolExecutor(PAGE_THREADS, thread_name_prefix="pages")


async def in_page_thread(
    work: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Do what a page takes long for on one of the threads for pages."""
    context = copy_context()
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_threads, lambda: context.run(work, *args, **kwargs))


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
        html = await in_page_thread(render, self._template, context)
        self.body = html.encode("utf-8", "replace")  # one lone surrogate must not break a page
        self.headers["content-length"] = str(len(self.body))
        await super().__call__(scope, receive, send)
