"""Names of the allowlist: an @name means the account that is first admitted under it.

People can give a name up, and others can take it; an account stays with its owner.
"""

import logging
from dataclasses import replace

from sqlalchemy import bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import Sender
from roost_platform.db import models
from roost_platform.db.audit import audit
from roost_platform.db.base.insert import insert_missing
from roost_platform.db.people.access import AccessPolicy

ACTOR = "access"  # in the audit trail: nobody's hand did it
NAME_MAX = 64  # characters of a name; networks allow fewer

log = logging.getLogger(__name__)

# Who was admitted under a name before names were bound.
_ADMITTED = (
    select(models.Alias.address)
    .join(models.Identity, models.Identity.id == models.Alias.identity_id)
    .where(
        models.Alias.channel == bindparam("channel"),
        func.lower(models.Alias.username) == bindparam("name"),
        models.Identity.access == "allowed",
    )
    .order_by(models.Alias.created_at)
    .limit(1)
)
_BOUND_TO = select(models.ListedName.name).where(
    models.ListedName.channel == bindparam("channel"),
    models.ListedName.account == bindparam("account"),
    models.ListedName.address.in_(bindparam("addresses", expanding=True)),
)


async def with_own_name(
    session: AsyncSession,
    at: tuple[str, str],
    policy: AccessPolicy,
    sender: Sender,
    now: float,
) -> Sender:
    """The sender under the listed name that means their account, whatever they are called now; and
    without a listed name that means another's, which operators are told.

    at: channel and account.
    """
    if policy.mode == "open" or not policy.has_names:
        return sender
    channel, account = at
    addresses = [sender.address, *sender.aliases]
    bound = {"channel": channel, "account": account, "addresses": addresses}
    for own in await session.scalars(_BOUND_TO, bound):
        if policy.lists(f"@{own}"):
            return replace(sender, username=own)
    name = sender.username.lower()
    if not name or len(name) > NAME_MAX or not policy.lists(f"@{name}"):
        return sender
    row = await session.get(models.ListedName, (channel, account, name))
    if row is None:
        before = await session.scalar(_ADMITTED, {"channel": channel, "name": name})
        await insert_missing(
            session,
            models.ListedName,
            channel=channel,
            account=account,
            name=name,
            address=before or sender.address,
            bound_at=now,
            told_address="",
        )
        row = await session.get_one(models.ListedName, (channel, account, name))
    if row.address in addresses:
        return sender
    if row.told_address != sender.address:
        row.told_address = sender.address
        log.warning("%s: @%s means %s, not %s", channel, name, row.address, sender.address)
        detail = {"account": account, "listed": row.address, "came": sender.address}
        await audit(session, now, ACTOR, "person.name_taken", f"{channel}:@{name}", detail)
    return replace(sender, username="")
