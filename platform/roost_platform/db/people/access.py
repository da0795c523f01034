"""Who may talk to an agent: identities, the access policy, and pairing codes for strangers."""

import secrets
from collections.abc import Mapping
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
CODES_MAX = 20  # open codes per account; a newer one takes the place of the oldest
HELD_MAX = 20  # messages kept of one person who is not admitted yet
CONNECTED = "You are connected."
VALID = ("open", "evicted")  # states in which a code admits until it expires


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
        return any(self.lists(name) for name in known)

    @property
    def has_names(self) -> bool:
        """Whether the allowlist has @names."""
        return any(entry.startswith("@") for entry in self.allowlist)

    def lists(self, name: str) -> bool:
        """Whether the allowlist has this address or @name."""
        return any(name.lower() == entry.lower() for entry in self.allowlist)


OPEN = AccessPolicy("open")
# Of several identities of one person, whose access counts.
_DECIDED_FIRST = ("blocked", "allowed", "pending")

_ALIASES = select(models.Alias).where(
    models.Alias.channel == bindparam("channel"),
    models.Alias.address.in_(bindparam("addresses", expanding=True)),
)


async def known_person(
    session: AsyncSession, channel: str, sender: Sender
) -> models.Identity | None:
    """The person behind a sender, None for somebody who never wrote to an agent."""
    return await _known_as(session, await _aliases(session, channel, sender))


async def _aliases(session: AsyncSession, channel: str, sender: Sender) -> dict[str, models.Alias]:
    """The sender's stored names, by address, in the order that the sender gives them."""
    addresses = [sender.address, *sender.aliases]
    known = await session.scalars(_ALIASES, {"channel": channel, "addresses": addresses})
    stored = {alias.address: alias for alias in known}
    return {address: stored[address] for address in addresses if address in stored}


async def _known_as(
    session: AsyncSession, aliases: Mapping[str, models.Alias]
) -> models.Identity | None:
    """The person with these names, None without any."""
    ids = dict.fromkeys(alias.identity_id for alias in aliases.values())
    persons = [await session.get_one(models.Identity, each) for each in ids]
    # Met under several names before we knew that they are one person's.
    return min(persons, key=lambda one: _DECIDED_FIRST.index(one.access), default=None)


async def identify(
    session: AsyncSession, channel: str, sender: Sender, now: float
) -> models.Identity:
    """The person behind a sender, created when new; new aliases are stored."""
    aliases = await _aliases(session, channel, sender)
    identity = await _known_as(session, aliases)
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
    own = [alias for alias in aliases.values() if alias.identity_id == identity.id]
    for address in (sender.address, *sender.aliases):
        if address not in aliases:
            session.add(
                models.Alias(
                    channel=channel,
                    address=address,
                    identity_id=identity.id,
                    linked_from=own[0].linked_from if own else "",
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
    is_command: bool = False,
) -> tuple[Literal["held", "ignored"], ReasonCode]:
    """The inbox state of a message whose writer is not admitted; a stranger gets a code.

    is_command: the message is for the platform and not kept for the agent.
    """
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
    if (held or 0) >= HELD_MAX and not is_command:
        await enqueue(
            session,
            conversation,
            kind="notice",
            body=f"I keep {HELD_MAX} of your messages until you are let in, and no more than that.",
            dedupe_key=f"held:{identity.id}:{now // NOTICE_EVERY_S:.0f}",
            now=now,
        )
        return "ignored", "too_many_held"
    await _tell_code(session, conversation, identity, now, is_kept=not is_command)
    # Telegram sends /start as everybody's first message: it is never for the agent.
    return ("ignored", "command_of_stranger") if is_command else ("held", "awaits_approval")


async def _tell_code(
    session: AsyncSession,
    conversation: models.Conversation,
    identity: models.Identity,
    now: float,
    *,
    is_kept: bool,
) -> None:
    """Tell the person their code, a new one where they have none: once in NOTICE_EVERY_S, however
    often they write.
    """
    await session.execute(
        update(models.Pairing)
        .where(models.Pairing.state.in_(VALID), models.Pairing.expires_at <= now)
        .values(state="expired")
    )
    pairing = await session.scalar(
        select(models.Pairing).where(
            models.Pairing.identity_id == identity.id, models.Pairing.state.in_(VALID)
        )
    )
    if pairing is None or pairing.state != "open":
        await _make_room(session, conversation)
    if pairing is None:
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
    pairing.state = "open"
    if now - pairing.notified_at >= NOTICE_EVERY_S:
        pairing.notified_at = now
        kept = " Your message is kept." if is_kept else ""
        await enqueue(
            session,
            conversation,
            kind="notice",
            body="I don't know you yet. Please give this code to the person who runs this "
            f"assistant: {pairing.code}\n\nIt is valid for one hour.{kept}",
            dedupe_key=f"pairing:{pairing.code}:{now}",
            now=now,
        )


async def _make_room(session: AsyncSession, conversation: models.Conversation) -> None:
    """Evict the oldest requests of the account, so that one more makes CODES_MAX at most.

    An evicted code still admits until its hour is over, and its person stays in the list of those
    who wait: nobody can push a request out of sight by making many.
    """
    open_ones = await session.scalars(
        select(models.Pairing)
        .join(models.Conversation, models.Conversation.id == models.Pairing.conversation_id)
        .where(
            models.Pairing.state == "open",
            models.Conversation.channel == conversation.channel,
            models.Conversation.account == conversation.account,
        )
        .order_by(models.Pairing.created_at.desc())
    )
    for evicted in open_ones.all()[CODES_MAX - 1 :]:
        evicted.state = "evicted"
