"""A page's event stream ends soon after the right to see the page does."""

from collections.abc import Callable, Coroutine
from typing import Any

import httpx2
import pytest
from sqlalchemy import update

from roost_platform.db import models
from roost_platform.identity.roles import Role
from roost_platform.testing.console import ConsoleServer

ENDS_WITHIN_S = 30  # far above the seconds it takes, for a busy machine
Change = Callable[[ConsoleServer, str, str], Coroutine[Any, Any, None]]


async def close_login(console: ConsoleServer, operator_id: str, token: str) -> None:
    await console.logins.close(token)


async def disable(console: ConsoleServer, operator_id: str, token: str) -> None:
    await console.accounts.change(operator_id, role=Role.operator, disabled=True)


async def lower_role(console: ConsoleServer, operator_id: str, token: str) -> None:
    """By hand: a change in the console ends the logins as well."""
    async with console.stores.database.write() as session:
        rows = update(models.Operator).where(models.Operator.id == operator_id)
        await session.execute(rows.values(role="viewer"))


@pytest.mark.parametrize("change", [close_login, disable, lower_role])
def test_s16_a_stream_ends_when_the_login_the_account_or_the_role_does(
    console: ConsoleServer, change: Change
) -> None:
    console.sign_in_cookie("Root", "admin")
    cookie = console.sign_in_cookie("Ada", "operator")
    (ada,) = [row for row in console.run(console.accounts.operators()) if row.name == "Ada"]
    headers = {"cookie": f"{cookie['name']}={cookie['value']}"}
    with (
        httpx2.Client(base_url=console.url, trust_env=False, timeout=ENDS_WITHIN_S) as http,
        http.stream("GET", "/sessions/events", headers=headers) as stream,
    ):
        assert stream.status_code == 200
        console.run(change(console, ada.id, cookie["value"]))
        for _ in stream.iter_lines():
            pass  # until the server ends it; it would go on for ever
