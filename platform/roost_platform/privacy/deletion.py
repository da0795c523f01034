"""Deleting a person from every store, one conversation a transaction; again goes on with it."""

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.audit import audit
from roost_platform.db.inbox.forgotten import remember
from roost_platform.db.locks import lock_conversation
from roost_platform.db.models import Base
from roost_platform.db.stores import Stores
from roost_platform.errors import NotFound
from roost_platform.intake import PlatformIntake
from roost_platform.privacy.belongings import (
    BY_ADDRESS,
    KEPT_UNNAMED,
    Belongings,
    belongings_of,
    by_address,
    conversation_tables,
    engine_sessions_of,
    of_conversations,
    of_person,
    person_tables,
)
from roost_platform.privacy.group_questions import take_out_questions
from roost_platform.privacy.groups import take_out, traces_in
from roost_platform.privacy.residue import write_over

QUIET_WAIT_S: Final = 15.0  # for turns that were stopped and for sends that are on their way
LOOK_S: Final = 0.2

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Deletion:
    """What was deleted. groups: chats of others in which the person's words were taken out.

    written_over: whether the database's files are written anew; if not, delete again at a quieter
        time, or run VACUUM.
    """

    identity_id: str
    conversations: int
    groups: int
    messages: int
    files: int
    written_over: bool


async def delete_person(
    stores: Stores, intake: PlatformIntake, identity_id: str, by: str, ip: str = ""
) -> Deletion:
    """Delete all that belongs to a person, stop what runs for them first, and audit it by ids.

    Raises NotFound. What others wrote stays, and so do backups and what networks keep.
    """
    async with stores.database.read() as session:
        owner = await belongings_of(session, identity_id)
    for conversation_id in owner.conversations:
        await _stop(intake, conversation_id, by, ip)
    await _until_quiet(stores, owner)
    files: list[str] = []
    messages = groups = 0
    for conversation_id in owner.groups:
        count, gone = await _clean_group(stores, intake, conversation_id, owner)
        files += gone
        messages += count
        groups += count > 0
    for conversation_id in owner.conversations:
        count, gone = await _delete_chat(stores, conversation_id)
        files += gone
        messages += count
    for artifact_id in files:
        await asyncio.to_thread(_remove, stores.artifacts.path(artifact_id))
    intake.forget(owner.engine_sessions)
    counts = {
        "conversations": len(owner.conversations),
        "groups": groups,
        "messages": messages,
        "files": len(files),
    }
    async with stores.database.write() as session:
        await _delete_identity(session, owner)
        await audit(session, stores.database.now(), by, "person.delete", identity_id, counts, ip)
    log.info("person %s is deleted: %s", identity_id, counts)
    return Deletion(identity_id, **counts, written_over=await write_over(stores.database))


async def _stop(intake: PlatformIntake, conversation_id: str, by: str, ip: str) -> None:
    try:
        await intake.request_stop(conversation_id, by, ip)
    except NotFound:
        log.info("conversation %s was gone already", conversation_id)


async def _until_quiet(stores: Stores, owner: Belongings) -> None:
    """Wait until no turn runs and nothing is on its way; a part that is down is not waited for."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + QUIET_WAIT_S
    turns = select(models.Turn.id).where(
        models.Turn.conversation_id.in_(owner.conversations), models.Turn.state == "running"
    )
    sends = select(models.Part.id).where(
        models.Part.conversation_id.in_(owner.conversations),
        models.Part.state == "sending",
        models.Part.lease_until > stores.database.now(),
    )
    while loop.time() < ends_at:
        services = {one.service for one in await stores.heartbeats.all() if one.is_alive}
        async with stores.database.read() as session:
            runs = "worker" in services and await session.scalar(turns.limit(1))
            sending = "courier" in services and await session.scalar(sends.limit(1))
        if not runs and not sending:
            return
        await asyncio.sleep(LOOK_S)
    log.warning("person %s is deleted while something of theirs still runs", owner.identity_id)


async def _clean_group(
    stores: Stores, intake: PlatformIntake, conversation_id: str, owner: Belongings
) -> tuple[int, list[str]]:
    """Take the person out of a chat of others; how many messages, and files to remove."""
    async with stores.database.write() as session:
        try:
            conversation = await lock_conversation(session, conversation_id)
        except NotFound:
            return 0, []
        traces = await traces_in(session, conversation_id, owner)
        rung = await take_out_questions(
            session, conversation_id, owner.identity_id, stores.database.now()
        )
        if conversation.identity_id == owner.identity_id:
            conversation.identity_id = None
        if not traces.rows:
            return 0, []
        await take_out(session, conversation, traces)
        await remember(session, traces.events, stores.database.now())
        engine_sessions = await engine_sessions_of(session, [conversation])
    intake.ring(rung)
    intake.forget(engine_sessions)  # their KV was computed from the words that are gone
    return len(traces.rows), traces.files


async def _delete_chat(stores: Stores, conversation_id: str) -> tuple[int, list[str]]:
    """Delete a private chat with all that refers to it; how many messages, and files to remove."""
    ids = [conversation_id]
    async with stores.database.write() as session:
        try:
            await lock_conversation(session, conversation_id)
        except NotFound:
            return 0, []
        events = await session.execute(
            select(models.Inbox.channel, models.Inbox.account, models.Inbox.event_id).where(
                models.Inbox.conversation_id == conversation_id
            )
        )
        seen = [(row.channel, row.account, row.event_id) for row in events]
        artifacts = await session.scalars(
            select(models.Artifact.id).where(models.Artifact.conversation_id == conversation_id)
        )
        files = list(artifacts)
        for table in conversation_tables().values():
            await session.execute(delete(table).where(of_conversations(table, ids)))
        await remember(session, seen, stores.database.now())
    return len(seen), files


async def _delete_identity(session: AsyncSession, owner: Belongings) -> None:
    """Delete the identity and what names it; what is left of its events elsewhere is nobody's."""
    for table in person_tables().values():
        await session.execute(delete(table).where(of_person(table, owner.identity_id)))
    for name in sorted(BY_ADDRESS):
        table = Base.metadata.tables[name]
        theirs = by_address(table, owner)
        if unnamed := KEPT_UNNAMED.get(name):
            values = dict.fromkeys(unnamed, "")
            await session.execute(update(table).where(theirs).values(values))
        else:
            await session.execute(delete(table).where(theirs))
    await session.execute(
        update(models.Inbox)
        .where(models.Inbox.identity_id == owner.identity_id)
        .values(identity_id=None)
    )
    await session.execute(delete(models.Identity).where(models.Identity.id == owner.identity_id))


def _remove(path: Path) -> None:
    """Remove a file and what was left of it half written."""
    path.unlink(missing_ok=True)
    for part in path.parent.glob(f"{path.name}.*"):
        part.unlink(missing_ok=True)
