"""For tests: flows over a database, the session's loop over the real activities, with kills."""

from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost import Agent
from roost.flow import Flow
from roost_platform.db import models
from roost_platform.db.stores import Stores
from roost_platform.db.turns.parking import make_ready
from roost_platform.db.waits.deciding import Decided, Decider, decide
from roost_platform.testing.chats import HandClock, Person
from roost_platform.testing.workers import Killed, ScriptedModel, activities_of
from roost_workflows.agents import AgentRegistry
from roost_workflows.testing.sessions import Session
from roost_workflows.turn.activities import Activities


@dataclass
class FlowWorld:
    """A person in a chat whose agent is a flow. commits: how many the worker made."""

    ada: Person
    clock: HandClock
    engine: ScriptedModel = field(default_factory=ScriptedModel)
    commits: int = 0
    kills: Collection[int] = ()
    is_dead: bool = False
    is_working: bool = False
    flows: tuple[Flow | Agent, ...] = ()

    @property
    def stores(self) -> Stores:
        """The person's stores."""
        return self.ada.stores

    def installs(self, *flows: Flow | Agent) -> None:
        """Let these answer from now on, the first one by default."""
        self.flows = flows
        self.activities = self._worker()

    def _worker(self) -> Activities:
        return activities_of(self.stores, self.engine, AgentRegistry.of(*self.flows))

    async def says(self, text: str) -> None:
        """Write to the flow."""
        await self.ada.says(text)
        async with self.stores.database.write() as session:
            row = await session.get_one(models.Conversation, await self.ada.conversation_id())
            row.agent = self.flows[0].name

    async def goes_on(self) -> None:
        """Ring the session until nothing can go on; dead workers are replaced."""
        self.is_working = True
        while self.is_working:
            try:
                conversation_id = await self.ada.conversation_id()
                await Session(self.activities, conversation_id).run()
                self.is_working = False
            except Killed:
                self.is_dead = False
                self.activities = self._worker()

    async def decides(self, *verdicts: bool) -> None:
        """Decide what waits for a yes or a no, the oldest first."""
        for verdict in verdicts:
            async with self.stores.database.write() as session:
                asked = await session.scalar(
                    select(models.Approval)
                    .where(models.Approval.state == "pending", models.Approval.kind == "approve")
                    .order_by(models.Approval.created_at, models.Approval.id)
                    .limit(1)
                )
                assert asked is not None
                word: Decided = "approved" if verdict else "denied"
                by = Decider("ada", "Ada", "telegram")
                await decide(session, asked, word, by, self.clock.now)

    async def answers(self, **texts: str) -> None:
        """Answer the open questions by the first word of each."""
        async with self.stores.database.write() as session:
            rows = await session.scalars(
                select(models.Approval).where(models.Approval.state == "pending")
            )
            for asked in rows.all():
                text = texts.get(asked.preview.split()[0].strip("?:"))
                if text is not None:
                    by = Decider("ada", "Ada", "telegram")
                    await decide(session, asked, "answered", by, self.clock.now, answers=[text])

    async def expires(self) -> None:
        """Let the time of all open questions run out."""
        async with self.stores.database.write() as session:
            rows = await session.scalars(
                select(models.Approval).where(models.Approval.state == "pending")
            )
            for asked in rows.all():
                by = Decider("", "", "clock")
                await decide(session, asked, "expired", by, self.clock.now)

    async def sleeps_end(self) -> int:
        """Do what the due-clock does for sleeps that are over."""
        async with self.stores.database.write() as session:
            due = await session.scalars(
                select(models.ToolCall).where(
                    models.ToolCall.state == "waiting", models.ToolCall.due_at <= self.clock.now
                )
            )
            calls = due.all()
            for call in calls:
                await make_ready(session, call.turn_id, call.step, call.call_id)
            return len(calls)

    async def turn(self) -> models.Turn:
        """The newest turn."""
        async with self.stores.database.read() as session:
            row = await session.scalar(
                select(models.Turn).order_by(models.Turn.number.desc()).limit(1)
            )
            assert row is not None
            return row

    async def journal(self) -> list[models.ToolCall]:
        """The newest turn's calls, in order."""
        async with self.stores.database.read() as session:
            rows = await session.scalars(
                select(models.ToolCall)
                .where(models.ToolCall.turn_id == (await self.turn()).id)
                .order_by(models.ToolCall.step)
            )
            return list(rows)

    async def last_text(self) -> str:
        """The newest message to the person."""
        return (await self.ada.outbox())[-1][1]

    @contextmanager
    def killed_before(self, *commits: int) -> Iterator[None]:
        """Let the worker die before these commits, counted from now."""
        self.kills, self.commits = commits, 0
        try:
            yield
        finally:
            self.kills = ()

    def watch_commits(self) -> None:
        """Count the worker's commits from now on, and let it die before those of `kills`."""
        database = self.stores.database
        real = database.write

        @asynccontextmanager
        async def write(*, is_news: bool = True) -> AsyncIterator[AsyncSession]:
            async with real(is_news=is_news) as session:
                yield session
                if self.is_dead:
                    raise Killed
                self.commits += self.is_working
                if not self.is_working:
                    return
                if self.commits in self.kills:
                    self.is_dead = True
                    raise Killed

        database.write = write  # type: ignore[method-assign]
