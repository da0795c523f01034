"""Policies as operators set them: a verdict for agents and tools, and agents switched off."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from sqlalchemy import ColumnElement, and_, bindparam, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.approval_rules import VERDICTS, Verdict
from roost_platform.db import models
from roost_platform.db.audit import audit
from roost_platform.db.base.engine import Database
from roost_platform.db.base.ids import new_id
from roost_platform.db.base.text import clean
from roost_platform.db.enqueue import enqueue
from roost_platform.errors import NotAllowed, NotFound

POLICIES_MAX: Final = 1000
NAME_CHARS_MAX: Final = 200
RUNG_MAX: Final = 500  # conversations rung at once; the sweeper rings the rest
OFF: Final = "The agent {agent} is switched off. Your message is kept until it is on again."
_POLICIES = models.ToolPolicy
_OFF = (
    select(_POLICIES)
    .where(
        _POLICIES.verdict == "off",
        _POLICIES.tool == "",
        _POLICIES.person_id == "",
        _POLICIES.agent.in_(("", bindparam("of_agent"))),
        _POLICIES.channel.in_(("", bindparam("in_channel"))),
    )
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class PolicyKey:
    """For what a policy counts; an empty field means any, but not both agent and tool."""

    agent: str = ""
    tool: str = ""
    channel: str = ""
    person_id: str = ""


def is_off() -> ColumnElement[bool]:
    """Whether a conversation's agent is switched off, as a condition on conversations."""
    return (
        select(_POLICIES.id)
        .where(
            _POLICIES.verdict == "off",
            _POLICIES.tool == "",
            _POLICIES.person_id == "",
            or_(_POLICIES.agent == "", _POLICIES.agent == models.Conversation.agent),
            or_(_POLICIES.channel == "", _POLICIES.channel == models.Conversation.channel),
        )
        .exists()
    )


async def off_rule(
    session: AsyncSession, conversation: models.Conversation
) -> models.ToolPolicy | None:
    """The policy that switches the conversation's agent off; None while it is on."""
    found: models.ToolPolicy | None = await session.scalar(
        _OFF, {"of_agent": conversation.agent, "in_channel": conversation.channel}
    )
    return found


async def tell_off(
    session: AsyncSession, conversation: models.Conversation, rule: models.ToolPolicy, now: float
) -> None:
    """Tell the chat, once for each time that the agent is switched off, that messages are kept."""
    await enqueue(
        session,
        conversation,
        kind="notice",
        body=OFF.format(agent=conversation.agent),
        dedupe_key=f"agent_off:{rule.id}:{conversation.id}",
        now=now,
    )


class ToolPolicies:
    """Sets and removes policies; each change is one audited transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def set(
        self, key: PolicyKey, verdict: Verdict, operator: str, ip: str = ""
    ) -> Sequence[str]:
        """Set the verdict for the key; returns conversations that can go on now, to be rung.

        Raises NotAllowed for a key that says nothing or means nobody.
        """
        key = PolicyKey(**{name: clean(value) for name, value in asdict(key).items()})
        if verdict not in VERDICTS:
            raise NotAllowed(f"There is no verdict {verdict!r}.")
        if not (key.agent or key.tool):
            raise NotAllowed("Name an agent or a tool: a policy for everything is a mistake.")
        if max(len(value) for value in asdict(key).values()) > NAME_CHARS_MAX:
            raise NotAllowed(f"A name has at most {NAME_CHARS_MAX} characters.")
        async with self._database.write() as session:
            if key.person_id and await session.get(models.Identity, key.person_id) is None:
                raise NotAllowed("There is no person with that id.")
            now = self._database.now()
            row = await _of(session, key)
            before = "" if row is None else row.verdict
            if before == verdict:
                return ()
            if row is not None:
                await session.delete(row)  # the new one has an id of its own: people are told anew
                await session.flush()
            elif len((await session.scalars(select(_POLICIES.id))).all()) >= POLICIES_MAX:
                raise NotAllowed(
                    f"There are {POLICIES_MAX} policies already, the most there may be."
                )
            new = _POLICIES(id=new_id(), verdict=verdict, set_by=operator, set_at=now)
            new.agent, new.tool = key.agent, key.tool
            new.channel, new.person_id = key.channel, key.person_id
            session.add(new)
            await session.flush()
            detail = {**asdict(key), "before": before, "after": verdict}
            await audit(session, now, operator, "policy.set", new.id, detail, ip)
            return await _held(session) if before == "off" else ()

    async def remove(self, policy_id: str, operator: str, ip: str = "") -> Sequence[str]:
        """Let what is declared count again; returns conversations to be rung. Raises NotFound."""
        async with self._database.write() as session:
            row = await session.get(_POLICIES, policy_id)
            if row is None:
                raise NotFound("There is no such policy, or it was removed before.")
            return await self._remove(session, row, operator, ip)

    async def switch_on(self, key: PolicyKey, operator: str, ip: str = "") -> Sequence[str]:
        """Take back that an agent or a tool is off; returns conversations to be rung.

        Raises NotAllowed where this very key is not switched off.
        """
        async with self._database.write() as session:
            row = await _of(session, key)
            if row is None or row.verdict != "off":
                raise NotAllowed("It is not switched off by itself; look at the policies.")
            return await self._remove(session, row, operator, ip)

    async def _remove(
        self, session: AsyncSession, row: models.ToolPolicy, operator: str, ip: str
    ) -> Sequence[str]:
        key = PolicyKey(row.agent, row.tool, row.channel, row.person_id)
        detail = {**asdict(key), "before": row.verdict, "after": ""}
        was_off = row.verdict == "off"
        await session.delete(row)
        await session.flush()
        await audit(session, self._database.now(), operator, "policy.remove", row.id, detail, ip)
        return await _held(session) if was_off else ()


async def _of(session: AsyncSession, key: PolicyKey) -> models.ToolPolicy | None:
    found: models.ToolPolicy | None = await session.scalar(
        select(_POLICIES).where(
            _POLICIES.agent == key.agent,
            _POLICIES.tool == key.tool,
            _POLICIES.channel == key.channel,
            _POLICIES.person_id == key.person_id,
        )
    )
    return found


async def _held(session: AsyncSession) -> Sequence[str]:
    """The conversations in which messages wait whose agent is on."""
    rows = await session.scalars(
        select(models.Conversation.id)
        .join(models.Inbox, models.Inbox.conversation_id == models.Conversation.id)
        .where(and_(models.Inbox.state == "pending", ~is_off()))
        .group_by(models.Conversation.id)
        .limit(RUNG_MAX)
    )
    return rows.all()
