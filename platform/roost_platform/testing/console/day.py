"""A plausible day in the database: people, conversations, deliveries, an hour of figures."""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from sqlalchemy import select

from roost_platform.db import models
from roost_platform.db.base.ids import new_id
from roost_platform.db.stores import Stores
from roost_platform.testing.console.rows import conversation, delivered, step_row, turn_row
from roost_platform.testing.console.talks import long_talk, short_talk


@contextlib.asynccontextmanager
async def writing(stores: Stores) -> AsyncIterator[Callable[..., Any]]:
    """A transaction whose `add` flushes each row, so that foreign keys hold."""
    async with stores.database.write() as session:

        async def add(*rows: models.Base) -> None:
            session.add_all(rows)
            await session.flush()

        yield add


async def seed(stores: Stores, now: float) -> dict[str, str]:
    """A plausible day; returns the ids that tests ask for."""
    ids: dict[str, str] = {}
    async with writing(stores) as add:
        ada = await _person(add, "Ada Lovelace", "allowed", "telegram", "1001", "ada", now)
        alan = await _person(
            add, "Alan Turing", "allowed", "whatsapp", "whatsapp:+15550002", "", now
        )
        eve = await _person(add, "Eve Stranger", "pending", "telegram", "1666", "eve_s", now - 800)
        ids["eve"] = eve
        ids["ada"] = await long_talk(add, "telegram", "42", "1001", ada, now)
        ids["alan"] = await short_talk(
            add, "whatsapp", "whatsapp:+15550001000", "whatsapp:+15550002", alan, now
        )
        ids["console"] = await short_talk(add, "console", "local", "trial", None, now - 4000)
        ids["failed"] = await _failed_delivery(add, ids["alan"], now)
        await _stranger(add, eve, now)
        await _health(add, now)
        await _background(add, now)
    async with stores.database.read() as session:
        first = select(models.Turn.id).where(
            models.Turn.conversation_id == ids["ada"], models.Turn.number == 1
        )
        ids["turn"] = str(await session.scalar(first))
    return ids


async def _person(
    add: Any, name: str, access: str, channel: str, address: str, username: str, now: float
) -> str:
    id = new_id()
    await add(
        models.Identity(
            id=id,
            display_name=name,
            access=access,
            created_at=now - 9000,
            decided_at=now - 8000 if access != "pending" else None,
            decided_by="Grace Hopper" if access != "pending" else "",
        )
    )
    await add(
        models.Alias(
            channel=channel,
            address=address,
            identity_id=id,
            username=username,
            created_at=now - 9000,
        )
    )
    return id


async def _failed_delivery(add: Any, conversation: str, now: float) -> str:
    return await delivered(
        add,
        conversation,
        "whatsapp",
        "whatsapp:+15550001000",
        None,
        "answer",
        "Your table is booked for eight.",
        now - 700,
        9,
        state="failed",
    )


async def _stranger(add: Any, identity: str, now: float) -> None:
    id, _ = await conversation(add, "telegram", "42", "1666", identity, 0, now - 700)
    await add(
        models.Pairing(
            code="K7QM2XRT",
            identity_id=identity,
            conversation_id=id,
            state="open",
            created_at=now - 700,
            expires_at=now + 2900,
            notified_at=now - 700,
        )
    )
    await add(
        models.Inbox(
            id=new_id(),
            conversation_id=id,
            sequence=1,
            channel="telegram",
            account="42",
            event_id="e-1",
            message_id="1",
            kind="message",
            identity_id=identity,
            sender={"address": "1666", "display_name": "Eve Stranger"},
            text="Hi, can you help me?",
            raw={},
            state="held",
            sent_at=now - 700,
            received_at=now - 700,
        )
    )


async def _health(add: Any, now: float) -> None:
    for service in ("engine", "worker", "courier", "web"):
        await add(
            models.ServiceHeartbeat(
                service=service, pid=1, version="0.1.0", started_at=now - 7200, seen_at=now + 3600
            )
        )
    for channel, account, state, name, detail in (
        ("telegram", "42", "up", "@roost_bot", ""),
        ("whatsapp", "whatsapp:+15550001000", "degraded", "", "Twilio answers slowly (2.1 s)."),
    ):
        await add(
            models.ChannelState(
                channel=channel,
                account=account,
                state=state,
                detail=detail,
                name=name,
                last_in_at=now - 6,
                last_out_at=now - 200,
                updated_at=now,
            )
        )


async def _background(add: Any, now: float) -> None:
    """An hour of turns, so that the chart has a shape."""
    id, session = await conversation(add, "console", "local", "load", None, 130, now - 30)
    number = 0
    for minute in range(59):
        for extra in range((minute * 7) % 5 + (2 if minute > 30 else 0)):
            number += 1
            at = now - 3600 + minute * 60 + extra * 9
            turn = turn_row(id, session, number, "done", at, 1.2)
            await add(turn)
            ttft = 0.15 + ((minute * 13 + extra * 7) % 10) / 60
            await add(step_row(turn, 1, at, ttft=ttft, took=1.0, tokens=40 + (minute * 11) % 37))
