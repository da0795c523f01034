"""The ports' contract, held by the store in memory and by the database alike."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Protocol

import pytest

from roost.testing import MemoryNotes as SdkNotes
from roost_channels.message import Address
from roost_platform.db.base.engine import Database
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import open_stores
from roost_platform.intake import PlatformIntake
from roost_platform.testing.chats import DoorbellLog, HandClock, Person
from roost_workflows.errors import TurnOver
from roost_workflows.model_calls import Spent, Usage
from roost_workflows.ports import (
    ModelCall,
    PlannedCall,
    Postponed,
    Snapshot,
    TranscriptMessage,
    TurnRecord,
    Turns,
)
from roost_workflows.storage.tools import PersonNotes
from roost_workflows.testing import MemoryStore, memory_ports

PURE = PlannedCall("c1", "look", '{"at": 1}', "pure")
UNSAFE = PlannedCall("c2", "pay", "{}", "unsafe")
LATE = PlannedCall("c3", "write", "{}", "idempotent")
TOOLS = ModelCall("tools", "I look.", (PURE, UNSAFE, LATE))


class World(Protocol):
    """A store with one conversation in it, whatever keeps it."""

    turns: Turns
    notes: PersonNotes

    stopper: ClassVar[str]

    async def say(self, text: str) -> None: ...
    async def stop(self) -> None: ...
    async def conversation(self) -> str: ...
    async def outbox(self) -> list[tuple[str, str]]: ...
    async def person(self) -> str: ...


@dataclass(slots=True)
class InMemory:
    """The store in memory."""

    store: MemoryStore = field(default_factory=MemoryStore)
    turns: Turns = field(init=False)
    notes: PersonNotes = field(init=False)

    def __post_init__(self) -> None:
        ports = memory_ports(self.store)
        self.turns, self.notes = ports.turns, ports.notes

    async def say(self, text: str) -> None:
        self.store.say("talk", text)

    stopper: ClassVar[str] = "the user"

    async def stop(self) -> None:
        self.store.request_stop("talk")

    async def conversation(self) -> str:
        return "talk"

    async def outbox(self) -> list[tuple[str, str]]:
        return [(sent.kind, sent.text) for sent in self.store.outbox("talk")]

    async def person(self) -> str:
        return "person-1"


@dataclass(slots=True)
class Stored:
    """The database, with the inbox before it."""

    ada: Person
    turns: Turns = field(init=False)
    notes: PersonNotes = field(init=False)

    def __post_init__(self) -> None:
        self.turns, self.notes = self.ada.stores.turns, self.ada.stores.notes

    async def say(self, text: str) -> None:
        await self.ada.says(text)

    stopper: ClassVar[str] = "an operator"

    async def stop(self) -> None:
        await self.ada.stores.request_stop(await self.ada.conversation_id(), "olga")

    async def conversation(self) -> str:
        return await self.ada.conversation_id()

    async def outbox(self) -> list[tuple[str, str]]:
        return await self.ada.outbox()

    async def person(self) -> str:
        turn = await self.ada.turn()
        return (await self.turns.context(turn.turn_id, 1)).person_id


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def where(request: pytest.FixtureRequest) -> str | None:
    """The database's URL, None for the store in memory."""
    fixtures = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}
    name = fixtures.get(request.param)
    return None if name is None else str(request.getfixturevalue(name))


@pytest.fixture
async def world(where: str | None, tmp_path: Path) -> AsyncIterator[World]:
    if where is None:
        yield InMemory()
        return
    database = Database(where, clock=HandClock())
    policies = {("telegram", "42"): AccessPolicy("open")}
    stores = open_stores(database, policies=policies, files=tmp_path)
    doorbell = DoorbellLog()
    yield Stored(
        Person(stores, PlatformIntake(stores, doorbell), doorbell, Address("telegram", "42", "7"))
    )
    await stores.close()


async def begun(world: World, *texts: str) -> TurnRecord:
    for text in texts or ("hello",):
        await world.say(text)
    turn = await world.turns.begin(await world.conversation())
    assert isinstance(turn, TurnRecord)
    return turn


async def after(world: World) -> list[TranscriptMessage]:
    """The transcript as the next turn's model sees it, without that turn's own message."""
    turn = await begun(world, "next")
    return list((await world.turns.context(turn.turn_id, 1)).messages)[:-1]


def told(messages: list[TranscriptMessage]) -> list[tuple[str, ...]]:
    return [(m.role, m.content, m.status, m.note_kind) for m in messages]


async def test_an_unknown_conversation_and_an_empty_inbox_begin_no_turn(world: World) -> None:
    assert await world.turns.begin("nowhere") is None
    turn = await begun(world)
    await world.turns.commit_step(turn.turn_id, 1, ModelCall("answer", "Hi."))
    assert await world.turns.begin(await world.conversation()) is None


async def test_a_turn_takes_all_that_waits_and_is_the_same_when_begun_again(world: World) -> None:
    turn = await begun(world, "one", "two")
    assert (turn.number, turn.agent, turn.stop_requested) == (1, "concierge", False)
    assert await world.turns.begin(turn.conversation_id) == turn
    assert await world.turns.get(turn.turn_id) == turn
    context = await world.turns.context(turn.turn_id, 1)
    assert [m.content for m in context.messages] == ["one", "two"]
    assert (context.steered, context.turn) == (0, turn)


async def test_what_comes_in_a_running_turn_is_steered_in_once(world: World) -> None:
    turn = await begun(world)
    await world.say("and this")
    assert (await world.turns.context(turn.turn_id, 1)).steered == 1
    again = await world.turns.context(turn.turn_id, 1)
    assert (again.steered, [m.content for m in again.messages]) == (0, ["hello", "and this"])


async def test_nothing_is_steered_into_an_open_group_or_a_stopped_turn(world: World) -> None:
    turn = await begun(world)
    await world.turns.commit_step(turn.turn_id, 1, TOOLS)
    await world.say("not yet")
    assert (await world.turns.context(turn.turn_id, 2)).steered == 0
    await world.turns.close_group(turn.turn_id, 1)
    assert (await world.turns.context(turn.turn_id, 2)).steered == 1
    await world.stop()
    await world.say("later")
    assert (await world.turns.context(turn.turn_id, 2)).steered == 0


@pytest.mark.parametrize(
    ("call", "sent", "note_kind"),
    [
        (ModelCall("answer", "Hi.", usage=Usage(3, 1, 2)), ("answer", "Hi."), ""),
        (ModelCall("length", "Once upon"), ("answer", "Once upon"), "cut_off"),
        (ModelCall("unfinished", "Once upon"), ("answer", "Once upon"), "unfinished"),
        (ModelCall("filtered", "Once upon"), ("answer", "Once upon"), "filtered"),
        (ModelCall("answer", "Hi.", limit="repeated_calls"), ("answer", "Hi.\n\n_I"), "limited"),
        (ModelCall("empty", " \n"), ("notice", "I have no answer to that."), "no_answer"),
        (ModelCall("answer", ""), ("notice", "I have no answer to that."), "no_answer"),
    ],
)
async def test_an_answer_ends_the_turn_and_is_sent_once(
    world: World, call: ModelCall, sent: tuple[str, str], note_kind: str
) -> None:
    turn = await begun(world)
    first = await world.turns.commit_step(turn.turn_id, 1, call)
    assert (first.step, first.finish, first.calls) == (1, call.finish, ())
    again = await world.turns.commit_step(turn.turn_id, 1, ModelCall("answer", "other"))
    assert again == first == await world.turns.step(turn.turn_id, 1)
    [(kind, text)] = await world.outbox()
    assert kind == sent[0] and text.startswith(sent[1])
    [_, message] = await after(world)
    assert (message.role, message.note_kind) == ("assistant", note_kind)
    assert message.content == ("" if note_kind == "no_answer" else call.text)
    assert bool(message.note) == bool(note_kind)


async def test_what_a_turn_used_is_read_with_its_context(world: World) -> None:
    turn = await begun(world)
    assert (await world.turns.context(turn.turn_id, 1)).spent == Spent()
    usage = Usage(prompt_tokens=10, completion_tokens=5, duration_s=2.0)
    await world.turns.commit_step(turn.turn_id, 1, replace(TOOLS, usage=usage))
    spent = (await world.turns.context(turn.turn_id, 1)).spent
    assert spent.calls == tuple((c.call_id, c.name, c.arguments) for c in TOOLS.calls)
    assert (spent.tokens, spent.worked_s) == (15, 2.0)


async def test_what_comes_after_the_end_is_fenced_off(world: World) -> None:
    turn = await begun(world)
    await world.turns.commit_step(turn.turn_id, 1, TOOLS)
    await world.turns.settle(turn.turn_id, outcome="failed", reason="timeout")
    with pytest.raises(TurnOver):
        await world.turns.commit_step(turn.turn_id, 2, ModelCall("answer", "late"))
    with pytest.raises(TurnOver):
        await world.turns.context(turn.turn_id, 2)
    await world.turns.progress(turn.turn_id, Snapshot("answering", "late"))
    await world.turns.finish_call(turn.turn_id, 1, "c1", status="ok", result="late")
    call = await world.turns.begin_call(turn.turn_id, 1, "c1")
    assert (call.state, call.attempt) == ("skipped", 0)
    await world.turns.close_group(turn.turn_id, 1)
    assert len(await world.outbox()) == 1


async def test_what_does_not_exist_is_a_look_up_that_fails(world: World) -> None:
    turn = await begun(world)
    await world.turns.commit_step(turn.turn_id, 1, TOOLS)
    assert await world.turns.step(turn.turn_id, 2) is None
    assert await world.turns.step("no turn", 1) is None
    for failing in (
        world.turns.get("no turn"),
        world.turns.context("no turn", 1),
        world.turns.stop_requested("no turn"),
        world.turns.commit_step("no turn", 1, ModelCall("answer", "x")),
        world.turns.begin_call(turn.turn_id, 1, "c9"),
        world.turns.begin_call(turn.turn_id, 2, "c1"),
        world.turns.finish_call(turn.turn_id, 1, "c9", status="ok", result=""),
        world.turns.close_group(turn.turn_id, 2),
        world.turns.settle("no turn", outcome="stopped", reason="stopped"),
    ):
        with pytest.raises(LookupError):
            await failing
    await world.turns.progress("no turn", Snapshot("thinking"))


async def test_calls_count_their_attempts_and_end_once(world: World) -> None:
    turn = await begun(world)
    record = await world.turns.commit_step(turn.turn_id, 1, TOOLS)
    assert (record.finish, record.calls) == ("tools", (PURE, UNSAFE, LATE))
    first = await world.turns.begin_call(turn.turn_id, 1, "c1")
    assert (first.state, first.attempt, first.effect) == ("planned", 1, "pure")
    assert (first.name, first.arguments) == ("look", '{"at": 1}')
    assert first.key == f"{turn.turn_id}:1:c1"
    second = await world.turns.begin_call(turn.turn_id, 1, "c1")
    assert (second.state, second.attempt, second.key) == ("running", 2, first.key)
    await world.turns.finish_call(turn.turn_id, 1, "c1", status="ok", result="seen")
    await world.turns.finish_call(turn.turn_id, 1, "c1", status="error", result="no")
    ended = await world.turns.begin_call(turn.turn_id, 1, "c1")
    assert (ended.state, ended.attempt, ended.result) == ("ok", 2, "seen")


async def test_a_group_closes_once_with_a_typed_result_for_every_call(world: World) -> None:
    turn = await begun(world)
    await world.turns.commit_step(turn.turn_id, 1, TOOLS)
    await world.turns.begin_call(turn.turn_id, 1, "c1")
    await world.turns.finish_call(turn.turn_id, 1, "c1", status="ok", result="seen")
    await world.turns.begin_call(turn.turn_id, 1, "c2")
    for _ in range(2):
        await world.turns.close_group(turn.turn_id, 1)
    [_, asked, *results] = list((await world.turns.context(turn.turn_id, 2)).messages)
    assert (asked.content, [call[0] for call in asked.tool_calls]) == (
        "I look.",
        ["c1", "c2", "c3"],
    )
    assert [(r.role, r.tool_call_id, r.name, r.status) for r in results] == [
        ("tool", "c1", "look", "ok"),
        ("tool", "c2", "pay", "unknown"),
        ("tool", "c3", "write", "skipped"),
    ]
    assert [bool(result.content) for result in results] == [True, True, True]


async def test_after_a_stop_no_call_begins_and_the_turn_ends_with_its_counts(world: World) -> None:
    turn = await begun(world)
    await world.turns.commit_step(turn.turn_id, 1, TOOLS)
    await world.turns.begin_call(turn.turn_id, 1, "c1")
    await world.turns.finish_call(turn.turn_id, 1, "c1", status="ok", result="seen")
    await world.turns.begin_call(turn.turn_id, 1, "c2")
    assert not await world.turns.stop_requested(turn.turn_id)
    await world.stop()
    assert await world.turns.stop_requested(turn.turn_id)
    assert (await world.turns.get(turn.turn_id)).stop_requested
    late = await world.turns.begin_call(turn.turn_id, 1, "c3")
    assert (late.state, late.attempt) == ("skipped", 0) and late.result
    settled = await world.turns.settle(turn.turn_id, outcome="stopped", reason="stopped")
    assert (settled.done, settled.undone, settled.unknown) == (1, 1, 1)
    assert not settled.already
    again = await world.turns.settle(turn.turn_id, outcome="stopped", reason="stopped")
    assert again.already and (again.done, again.undone, again.unknown) == (1, 1, 1)
    [(kind, text)] = await world.outbox()
    assert (kind, text) == (
        "notice",
        "Stopped after less than a second: 1 done, 1 undone, 1 unknown."
        " Undone: write. Unknown: pay.",
    )
    assert told(await after(world))[-1] == ("assistant", "", "", "stopped")


@pytest.mark.parametrize("finish", ["answer", "length", "empty", "stopped"])
async def test_an_answer_after_the_stop_is_kept_as_partial_text(world: World, finish: str) -> None:
    turn = await begun(world)
    await world.stop()
    call = ModelCall(finish, "Once upon")  # type: ignore[arg-type]
    assert (await world.turns.commit_step(turn.turn_id, 1, call)).finish == "stopped"
    # The stopped step has settled the turn already.
    assert (await world.turns.settle(turn.turn_id, outcome="stopped", reason="stopped")).already
    assert await world.outbox() == [("notice", "Once upon\n\nStopped after less than a second.")]
    [_, message] = await after(world)
    assert (message.content, message.note_kind) == ("Once upon", "stopped")
    assert message.note == f"stopped by {world.stopper} after 0 s"


async def test_a_turn_whose_worker_died_keeps_what_people_had_seen(world: World) -> None:
    turn = await begun(world)
    await world.turns.progress(turn.turn_id, Snapshot("answering", "Once upon"))
    await world.turns.settle(turn.turn_id, outcome="failed", reason="engine_unavailable")
    [(kind, text)] = await world.outbox()
    assert kind == "error" and text.startswith("Once upon\n\nThe model can't be reached")
    [_, message] = await after(world)
    assert (message.content, message.note_kind) == ("Once upon", "failed")
    assert message.note == "failed: engine_unavailable"


async def test_a_stop_drops_what_waits_for_a_turn(world: World) -> None:
    turn = await begun(world)
    await world.say("dropped")
    await world.stop()
    await world.turns.settle(turn.turn_id, outcome="stopped", reason="stopped")
    assert await world.turns.begin(await world.conversation()) is None


async def check_notes(notes: PersonNotes | SdkNotes, person: str) -> None:
    tea = await notes.add(person, "likes tea", "k1")
    assert await notes.add(person, "likes coffee", "k1") == tea
    cats = await notes.add(person, "has cats", "k2")
    assert [note.text for note in await notes.list(person)] == ["likes tea", "has cats"]
    assert not await notes.list("nobody")
    assert not await notes.remove("nobody", tea.id)
    assert await notes.remove(person, tea.id)
    assert not await notes.remove(person, tea.id)
    for number in (-1, 0, 2**63, 10**30):  # models write any number
        assert not await notes.remove(person, number)
    assert [note.id for note in await notes.list(person)] == [cats.id]


async def test_notes_are_added_once_by_key_and_removed_by_number(world: World) -> None:
    await begun(world)
    await check_notes(world.notes, await world.person())


async def test_the_notes_of_roost_testing_keep_the_same_contract() -> None:
    await check_notes(SdkNotes(), "person-1")


async def test_a_postponed_turn_says_how_long_to_wait() -> None:
    memory = InMemory()
    memory.store.postponements = [0.5]
    await memory.say("hello")
    assert await memory.turns.begin("talk") == Postponed(0.5)
    assert isinstance(await memory.turns.begin("talk"), TurnRecord)


async def test_deaths_of_workers_are_counted_for_running_turns_alone(world: World) -> None:
    turn = await begun(world)
    assert await world.turns.worker_died(turn.turn_id) == 1
    assert await world.turns.worker_died(turn.turn_id) == 2
    assert (await world.turns.get(turn.turn_id)).worker_deaths == 2
    await world.turns.settle(turn.turn_id, outcome="failed", reason="worker_died")
    assert await world.turns.worker_died(turn.turn_id) == 0
    assert await world.turns.worker_died("no turn") == 0
