"""Who may talk to an agent: identities, the access policy, and pairing codes for strangers."""

import secrets
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import CursorResult, bindparam, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import Sender
from roost_platform.db import models
from roost_platform.db.base.ids import new_id
from roost_platform.db.base.text import clean
from roost_platform.db.enqueue import enqueue
from roost_platform.db.reasons import ReasonCode

CODE_ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"  # nothing that reads like something else
CODE_LENGTH = 8
CODE_S = 3600.0  # how long a code is valid
NOTICE_EVERY_S = 600.0  # the same code is not told more often
CODES_MAX = 3  # open codes per account, so that strangers can't flood the operators
HELD_MAX = 20  # messages kept of one person who is not admitted yet
CONNECTED = "You are connected."


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """How one account treats people it does not know.

    allowlist: who may always talk, as `12345`, `whatsapp:+15550001000` or `@username`.
    """

    mode: Literal["pairing", "allowlist", "open"] = "pairing"
    allowlist: tuple[str, ...] = ()

    def admits(self, sender: Sender) -> bool:
        """Whether the policy alone lets the sender talk."""
        if self.mode == "open":
            return True
        known = {sender.address, *sender.aliases}
        if sender.username:
            known.add(f"@{sender.username}")
        listed = {entry.lower() for entry in self.allowlist}
        return any(name.lower() in listed for name in known)


OPEN = AccessPolicy("open")
# Of several identities of one person, whose access counts.
_DECIDED_FIRST = ("blocked", "allowed", "pending")

_ALIASES = select(models.Alias).where(
    models.Alias.channel == bindparam("channel"),
    models.Alias.address.in_(bindparam("addresses", expanding=True)),
)


async def identify(
    session: AsyncSession, channel: str, sender: Sender, now: float
) -> models.Identity:
    """The person behind a sender, created when new; new aliases are stored."""
    addresses = [sender.address, *sender.aliases]
    known = await session.scalars(_ALIASES, {"channel": channel, "addresses": addresses})
    aliases = {alias.address: alias for alias in known}
    identity = None
    if aliases:
        ids = dict.fromkeys(aliases[name].identity_id for name in addresses if name in aliases)
        known_as = [await session.get_one(models.Identity, each) for each in ids]
        # Met under several names before we knew that they are one person's.
        identity = min(known_as, key=lambda one: _DECIDED_FIRST.index(one.access))
    if identity is None:
        identity = models.Identity(
            id=new_id(),
            display_name=clean(sender.display_name) or sender.address,
            access="pending",
            created_at=now,
        )
        session.add(identity)
        await session.flush()
    elif sender.display_name:
        identity.display_name = clean(sender.display_name)
    for address in addresses:
        if address not in aliases:
            session.add(
                models.Alias(
                    channel=channel,
                    address=address,
                    identity_id=identity.id,
                    username=clean(sender.username),
                    created_at=now,
                )
            )
    await session.flush()
    return identity


def decide(identity: models.Identity, policy: AccessPolicy, sender: Sender, now: float) -> bool:
    """Whether the person may talk now. An operator's decision outlasts a change of the setting."""
    if identity.access == "blocked":
        return False
    if identity.access == "allowed" and not identity.decided_by_policy:
        return True
    admitted = policy.admits(sender)
    access = "allowed" if admitted else "pending"
    if identity.access != access:
        identity.access, identity.decided_at = access, now
        identity.decided_by = f"policy:{policy.mode}" if admitted else ""
        identity.decided_by_policy = admitted
    return admitted


async def release(session: AsyncSession, identity_id: str, conversation_id: str) -> bool:
    """Let the person's held messages wait for an answer; False if there are none."""
    result = await session.execute(
        update(models.Inbox)
        .where(
            models.Inbox.identity_id == identity_id,
            models.Inbox.conversation_id == conversation_id,
            models.Inbox.state == "held",
        )
        .values(state="pending", reason_code="", reason="")
        .execution_options(synchronize_session=False)
    )
    return isinstance(result, CursorResult) and result.rowcount > 0


async def keep_or_refuse(
    session: AsyncSession,
    conversation: models.Conversation,
    identity: models.Identity,
    policy: AccessPolicy,
    now: float,
    *,
    is_group: bool,
) -> tuple[Literal["held", "ignored"], ReasonCode]:
    """The inbox state of a message whose writer is not admitted; a stranger gets a code."""
    if identity.access == "blocked":
        return "ignored", "blocked"
    if policy.mode != "pairing":
        return "ignored", "not_listed"
    if is_group:
        return "ignored", "not_paired_in_group"
    held = await session.scalar(
        select(func.count())
        .select_from(models.Inbox)
        .where(models.Inbox.identity_id == identity.id, models.Inbox.state == "held")
    )
    if (held or 0) >= HELD_MAX:
        await enqueue(
            session,
            conversation,
            kind="notice",
            body=f"I keep {HELD_MAX} of your messages until you are let in, and no more than that.",
            dedupe_key=f"held:{identity.id}:{now // NOTICE_EVERY_S:.0f}",
            now=now,
        )
        return "ignored", "too_many_held"
    code = await _code(session, conversation, identity, now)
    return "held", "awaits_approval" if code else "awaits_code"


async def _code(
    session: AsyncSession, conversation: models.Conversation, identity: models.Identity, now: float
) -> str | None:
    """The person's open code, sent again when due; None while too many others are open."""
    await session.execute(
        update(models.Pairing)
        .where(models.Pairing.state == "open", models.Pairing.expires_at <= now)
        .values(state="expired")
    )
    pairing = await session.scalar(
        select(models.Pairing).where(
            models.Pairing.identity_id == identity.id, models.Pairing.state == "open"
        )
    )
    if pairing is None:
        if await _open_codes(session, conversation) >= CODES_MAX:
            return None
        pairing = models.Pairing(
            code="".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_LENGTH)),
            identity_id=identity.id,
            conversation_id=conversation.id,
            state="open",
            created_at=now,
            expires_at=now + CODE_S,
            notified_at=0.0,
        )
        session.add(pairing)
    if now - pairing.notified_at >= NOTICE_EVERY_S:
        pairing.notified_at = now
        await enqueue(
            session,
            conversation,
            kind="notice",
            body="I don't know you yet. Please give this code to the person who runs this "
            f"assistant: {pairing.code}\n\nIt is valid for one hour. Your message is kept.",
            dedupe_key=f"pairing:{pairing.code}:{now}",
            now=now,
        )
    return pairing.code


async def _open_codes(session: AsyncSession, conversation: models.Conversation) -> int:
    count = await session.scalar(
        select(func.count())
        .select_from(models.Pairing)
        .join(models.Conversation, models.Conversation.id == models.Pairing.conversation_id)
        .where(
            models.Pairing.state == "open",
            models.Conversation.channel == conversation.channel,
            models.Conversation.account == conversation.account,
        )
    )
    return count or 0
