"""For tests: a clock set by hand, a doorbell that keeps a log, and a person who writes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from sqlalchemy import func, select

from roost.turn import Finish
from roost_channels.intake import Accepted
from roost_channels.message import Address, InboundKind, InboundMessage, Quote, Sender
from roost_channels.progress.status_messages import stop_buttons
from roost_channels.progress.status_view import StatusView
from roost_inference.client.sessions import EngineSession, Wait
from roost_platform.db import models
from roost_platform.db.stores import Stores
from roost_platform.intake import PlatformIntake
from roost_workflows.model_calls import Usage
from roost_workflows.ports import ModelCall, PlannedCall, StepRecord, TurnRecord


@dataclass(slots=True)
class HandClock:
    """A clock in seconds since the epoch that moves only by `advance`."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        """The time now."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let this many seconds pass."""
        self.now += seconds


@dataclass(slots=True)
class DoorbellLog:
    """Keeps a log of rings. `broken`: every ring fails, as if Temporal were down."""

    rung: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    broken: bool = False

    async def ring(self, conversation_id: str) -> None:
        """Remember a ring."""
        if self.broken:
            raise ConnectionError("no workflow server")
        self.rung.append(conversation_id)

    async def stop(self, conversation_id: str) -> None:
        """Remember a ring for a stop."""
        if self.broken:
            raise ConnectionError("no workflow server")
        self.stopped.append(conversation_id)


@dataclass(slots=True)
class HintLog:
    """Records the hints that an engine would get: (hint, session, salt)."""

    given: list[tuple[str, str | None, str]] = field(default_factory=list)

    def waits(self, session: EngineSession, wait: Wait, ttl_s: float) -> None:
        """Record what the session waits for."""
        self.given.append((wait, session.session_id, session.cache_salt))

    def continues(self, session: EngineSession) -> None:
        """Record that the session goes on."""
        self.given.append(("continues", session.session_id, session.cache_salt))

    def ended(self, session: EngineSession) -> None:
        """Record that the session ended."""
        self.given.append(("ended", session.session_id, session.cache_salt))


@dataclass(slots=True)
class Person:
    """A person in a chat with the agent, and the agent's side of the chat."""

    stores: Stores
    intake: PlatformIntake
    doorbell: DoorbellLog
    address: Address = field(default_factory=lambda: Address("telegram", "42", "1001"))
    sender: Sender = field(default_factory=lambda: Sender("1001", "Ada", "ada"))
    _ids: "count[int]" = field(default_factory=lambda: count(1))

    def message(
        self, text: str, *, kind: InboundKind = "message", quote: Quote | None = None
    ) -> InboundMessage:
        """A message of this person with the next ids."""
        number = next(self._ids)
        return InboundMessage(
            address=self.address,
            event_id=f"{self.address.chat}:{number}",
            message_id=f"m{number}",
            sender=self.sender,
            text=text,
            sent_at=self.stores.database.now(),
            kind=kind,
            quote=quote,
        )

    async def gives(self, *batch: InboundMessage, cursor: int | None = None) -> Accepted:
        """Hand messages to the intake, and wait until every doorbell has rung."""
        accepted = await self.intake.accept(
            self.address.channel, self.address.account, batch, cursor=cursor
        )
        await self.intake.drain()
        return accepted

    async def says(self, *texts: str) -> Accepted:
        """Write these texts, one message each."""
        return await self.gives(*(self.message(text) for text in texts))

    async def conversation_id(self) -> str:
        """The conversation with this person, which must exist."""
        conversation_id = await self.stores.queries.conversation_id(self.address.key)
        assert conversation_id is not None
        return conversation_id

    async def turn(self) -> TurnRecord:
        """The running turn, begun when there is none."""
        turn = await self.stores.turns.begin(await self.conversation_id())
        assert isinstance(turn, TurnRecord)
        return turn

    async def stop_button(self) -> str:
        """The data of the running turn's Stop button, as the chat shows it."""
        shown = await self.stores.outbox.progress([(self.address.channel, self.address.account)])
        snapshot = next(one for one in shown if one.address == self.address)
        [button] = stop_buttons(snapshot, StatusView("Thinking…"))
        return button.data

    async def agent_says(
        self,
        turn: TurnRecord,
        step: int,
        text: str = "",
        *,
        finish: Finish = "answer",
        calls: Sequence[PlannedCall] = (),
    ) -> StepRecord:
        """Commit a step of the turn: an answer, or calls of tools."""
        return await self.stores.turns.commit_step(
            turn.turn_id,
            step,
            ModelCall(
                finish,
                text,
                calls,
                Usage(prompt_tokens=10, cached_tokens=4, completion_tokens=5, duration_s=0.5),
                model="test",
                engine_message_id=f"e{step}",
                started_at=self.stores.database.now(),
            ),
        )

    async def outbox(self) -> list[tuple[str, str]]:
        """(kind, text) of every message queued for this chat, oldest first."""
        async with self.stores.database.read() as session:
            rows = await session.scalars(
                select(models.Outbox)
                .join(models.Conversation, models.Conversation.id == models.Outbox.conversation_id)
                .where(models.Conversation.key == self.address.key)
                .order_by(models.Outbox.sequence)
            )
            return [(row.kind, row.text) for row in rows]

    async def inbox(self) -> list[tuple[str, str]]:
        """(text, state) of every message that arrived in this chat, oldest first."""
        async with self.stores.database.read() as session:
            rows = await session.scalars(
                select(models.Inbox)
                .join(models.Conversation, models.Conversation.id == models.Inbox.conversation_id)
                .where(models.Conversation.key == self.address.key)
                .order_by(models.Inbox.sequence)
            )
            return [(row.text, row.state) for row in rows]


async def count_rows(stores: Stores, model: type[models.Base], **values: object) -> int:
    """How many rows a table has, with these values."""
    count = select(func.count()).select_from(model).filter_by(**values)
    async with stores.database.read() as session:
        return await session.scalar(count) or 0
