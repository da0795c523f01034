"""Access at start-up and from the command line: the setup link, the local token, operators."""

import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError

from roost_platform.data_folder import running_stack
from roost_platform.db import models
from roost_platform.db.audit import AuditTrail, acting_through
from roost_platform.db.base.engine import Database
from roost_platform.db.base.existing import open_existing
from roost_platform.errors import NotReachable
from roost_platform.identity.accounts import Accounts
from roost_platform.identity.audit_key import open_trail
from roost_platform.identity.passwords import new_token, token_hash
from roost_platform.identity.roles import Role, parse_role
from roost_platform.identity.tokens import TOKEN_PREFIX, Tokens
from roost_platform.settings.config import Settings

KEEP_LINK_S = 300.0  # a link that is good for longer than this survives a restart
LOCAL_TOKEN_NAME = "local command line"


async def prepare_access(settings: Settings, database: Database, web_url: str) -> None:
    """Make sure of a local API token, and of a setup link while no admin exists.

    Called at every start of `web`; `web_url` is the address in the link.
    """
    file = settings.data_dir / running_stack.TOKEN_FILE
    token = running_stack.read_token(settings.data_dir)
    if not token:
        token = TOKEN_PREFIX + new_token()
        running_stack.write_private(file, token)
    await Tokens(database, time.time).register(token, LOCAL_TOKEN_NAME, Role.admin)
    link = settings.data_dir / running_stack.SETUP_FILE
    accounts = Accounts(database, time.time)
    if await accounts.has_admin():
        link.unlink(missing_ok=True)
    else:
        # A restart must not end a link that is already printed.
        kept = await _still_valid(database, link)
        running_stack.write_private(link, _link(web_url, kept or await accounts.new_setup_token()))


async def new_setup_link(settings: Settings) -> str:
    """A new one-time link; earlier ones end. Raises Refused once an administrator exists."""
    run = running_stack.read_run(settings.data_dir)
    web_url = run.url if run and not settings.public_base_url else settings.web_url
    async with _accounts(settings) as accounts:
        token = await accounts.new_setup_token()
        await _audit(accounts.database, "setup.link", "")
        return _link(web_url, token)


async def create_operator(settings: Settings, name: str, password: str, role: str) -> None:
    """Make an operator. Everybody who can write the database may do this."""
    async with _accounts(settings) as accounts:
        made = await accounts.create(name, password, parse_role(role))
        await _audit(accounts.database, "operator.create", made.name, {"role": role})


async def _audit(
    database: Database, action: str, object: str, detail: Mapping[str, Any] | None = None
) -> None:
    """Record what somebody with a shell on this machine did."""
    acting_through.set("command line")
    await AuditTrail(database).write(LOCAL_TOKEN_NAME, action, object, detail)


@contextlib.asynccontextmanager
async def _accounts(settings: Settings) -> AsyncIterator[Accounts]:
    database = open_existing(settings.database_url)
    try:
        await open_trail(settings, database)
        yield Accounts(database, time.time)
    except DBAPIError as error:
        raise NotReachable(
            f"The database does not answer or has no tables; `roost migrate` makes them: "
            f"{str(error).splitlines()[0]}"
        ) from error
    finally:
        await database.close()


async def _still_valid(database: Database, link: Path) -> str:
    """The token in the link file if it is good for a while longer; else empty."""
    try:
        token = link.read_text(encoding="ascii").rpartition("#token=")[2].strip()
    except OSError:
        return ""
    async with database.read() as session:
        row = await session.get(models.SetupToken, token_hash(token))
    fresh = row is not None and row.used_at is None and row.expires_at > time.time() + KEEP_LINK_S
    return token if fresh else ""


def _link(web_url: str, token: str) -> str:
    # In the fragment, so that it never reaches a server's log.
    return f"{web_url}/setup#token={token}"
