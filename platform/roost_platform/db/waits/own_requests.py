"""Operators who asked for a call themselves, in the console's chat, by the API or a linked app."""

from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.console.config import CHANNEL as CONSOLE
from roost_platform.db import models

# How the console and the API name those who write there.
LOGIN_ADDRESS: Final = "operator:"
TOKEN_ADDRESS: Final = "token:"


async def asked_themselves(session: AsyncSession, approval: models.Approval, operator: str) -> bool:
    """Whether the approval was asked for by the login or the token of this name."""
    if not approval.requester_id:
        return False
    addresses = await session.scalars(
        select(models.Alias.address).where(
            models.Alias.channel == CONSOLE, models.Alias.identity_id == approval.requester_id
        )
    )
    names = set(addresses)
    logins = await session.scalars(
        select(models.Operator.id).where(models.Operator.name == operator)
    )
    if any(f"{LOGIN_ADDRESS}{id}" in names for id in logins):
        return True
    keys = tuple(
        name.removeprefix(TOKEN_ADDRESS) for name in names if name.startswith(TOKEN_ADDRESS)
    )
    hashes = await session.scalars(
        select(models.ApiToken.token_hash).where(models.ApiToken.name == operator)
    )
    return any(hash.startswith(keys) for hash in hashes)
