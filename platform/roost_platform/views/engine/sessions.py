"""The engine's sessions with the names of their conversations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.views.channels import account_labels
from roost_platform.views.sessions import display_title

ID_SHOWN = 8  # characters of a session that is not ours


@dataclass(frozen=True, slots=True)
class EngineSessionRow:
    """One session in the engine.

    conversation_id: empty for a session that is not ours. account: as in SessionRow.
    cells: tokens on the device. stored: tokens by tier below.
    pin: what the session waits for; empty for nothing.
    """

    conversation_id: str
    channel: str
    account: str
    title: str
    tokens: int
    cells: int
    stored: tuple[tuple[str, int], ...]
    turns: int
    idle_s: float
    pin: str
    pin_left_s: float
    diverged_in: str
    lost_tokens: int


async def engine_session_rows(
    session: AsyncSession, listed: Sequence[Mapping[str, Any]]
) -> tuple[EngineSessionRow, ...]:
    """A row for each listed session, in the same order."""
    ids = [str(entry.get("id", "")) for entry in listed]
    rows = await session.execute(
        select(models.Session.id, models.Conversation, models.Identity.display_name)
        .join(models.Conversation, models.Conversation.id == models.Session.conversation_id)
        .outerjoin(models.Identity, models.Identity.id == models.Conversation.identity_id)
        .where(models.Session.id.in_(ids))
    )
    ours = {id: (conversation, person) for id, conversation, person in rows}
    labels = await account_labels(session)
    return tuple(
        _row(entry, labels, *ours.get(id, (None, None)))
        for id, entry in zip(ids, listed, strict=True)
    )


def _row(
    entry: Mapping[str, Any],
    labels: Mapping[tuple[str, str], str],
    conversation: models.Conversation | None,
    person: str | None,
) -> EngineSessionRow:
    pin = entry.get("pin") or {}
    divergence = entry.get("divergence") or {}
    stored = entry.get("stored_tokens") or {}
    return EngineSessionRow(
        conversation_id=conversation.id if conversation else "",
        channel=conversation.channel if conversation else "",
        account=labels.get((conversation.channel, conversation.account), "")
        if conversation
        else "",
        title=display_title(conversation, person) if conversation else str(entry["id"])[:ID_SHOWN],
        tokens=int(entry.get("tokens") or 0),
        cells=int(entry.get("cells") or 0),
        stored=tuple((str(tier), int(tokens)) for tier, tokens in stored.items()),
        turns=int(entry.get("turns") or 0),
        idle_s=float(entry.get("idle_s") or 0.0),
        pin=str(pin.get("reason") or ""),
        pin_left_s=max(float(pin.get("expires_in_s") or 0.0), 0.0),
        diverged_in=str(divergence.get("in") or ""),
        lost_tokens=int(divergence.get("lost_tokens") or 0),
    )
