"""A console over one database, read page by page and compared with its rows."""

from typing import Any

import httpx2
from sqlalchemy import text

from roost_platform.testing.console.page_text import PageText
from roost_platform.testing.console.server import ConsoleServer


class Reader:
    """A console over one database, read as its admin."""

    def __init__(self, server: ConsoleServer, http: httpx2.Client) -> None:
        self.server, self.http, self.now = server, http, server.clock()

    def page(self, path: str) -> PageText:
        """What a page shows."""
        answer = self.http.get(path)
        assert answer.status_code == 200, (path, answer.text)
        return PageText(answer.text)

    def json(self, path: str) -> Any:
        """A page's data."""
        return self.http.get(path).json()

    def sql(self, query: str, **values: Any) -> Any:
        """The only value of a query's only row."""

        async def ask() -> Any:
            async with self.server.stores.database.read() as session:
                return await session.scalar(text(query), values)

        return self.server.run(ask())

    def change(self, statement: str, **values: Any) -> None:
        """Change rows behind the console's back."""

        async def write() -> None:
            async with self.server.stores.database.write() as session:
                await session.execute(text(statement), values)

        self.server.run(write())
