"""A tool that asks: whose word counts, which call it is for, and what the model is told."""

from dataclasses import replace
from itertools import count

import pytest
from sqlalchemy import select, update

from roost.turn import OpenCalls
from roost_channels.message import Address, Sender
from roost_platform.db import models
from roost_platform.db.retention import Retention
from roost_platform.db.waits import approvals
from roost_platform.db.waits.grants import live_grants
from roost_platform.dueclock import DueClock, due_sources
from roost_platform.testing.chats import HandClock, Person, count_rows
from roost_platform.testing.waiting import BOOKING, Parked, begun, booking, changed, press
from roost_workflows.storage.waits import CallFacts, Gate
from roost_workflows.turn.limits import arguments_hash

GROUP = Address("telegram", "42", "-100", is_group=True)


async def cards(person: Person) -> list[str]:
    """The texts that replace cards, oldest first."""
    return [text for kind, text in await person.outbox() if text.startswith(("Approved", "Denied"))]


def bob_of(ada: Person) -> Person:
    """Another person in the same chat."""
    sender = Sender("2002", "Bob", "bob")
    return Person(ada.stores, ada.intake, ada.doorbell, ada.address, sender, count(1000))


async def test_s6_s8_a_tap_lets_the_same_call_run_once(ada: Person) -> None:
    parked = await booking(ada)
    assert await parked.state() == "waiting"
    assert await parked.taps("a") == "Approved."
    assert ada.doorbell.rung[-1] == parked.turn.conversation_id
    await parked.go_on()
    assert (await parked.gate()).verdict == "run"
    record = await ada.stores.turns.begin_call(parked.turn.turn_id, 1, "c0")
    assert (record.state, record.attempt) == ("ready", 1)
    await ada.stores.turns.finish_call(parked.turn.turn_id, 1, "c0", status="ok", result="booked")
    told = await cards(ada)
    assert [line.splitlines()[0].split(" · ")[1:] for line in told] == [[], ["done"]]
    assert told[0].startswith("Approved by Ada ")


async def test_a_turn_goes_on_with_the_calls_that_can_run_and_knows_those_that_wait(
    ada: Person,
) -> None:
    parked = await begun(ada, "book", "book")
    for call_id, day in (("c0", "Friday"), ("c1", "Monday")):
        await parked.gate(changed(day=day), call_id)
    await parked.park()
    await parked.taps("a", (await parked.approvals())[1])
    turn = await parked.go_on()
    assert (turn.first_step, turn.open_calls) == (1, OpenCalls(("c1",), ("c0",)))


async def test_a_call_begins_in_the_transaction_that_lets_it_run(ada: Person) -> None:
    parked = await booking(ada)
    await parked.taps("a")
    place = (parked.turn.turn_id, 1, "c0")
    waits, turns = ada.stores.waits, ada.stores.turns
    await parked.go_on()
    assert await waits.begin(*place, BOOKING) == Gate("run", attempt=1)
    assert await waits.begin(*place, BOOKING) == Gate("run", attempt=2, was_running=True)
    await turns.finish_call(*place, status="ok", result="booked")
    assert await waits.begin(*place, BOOKING) == Gate("over")


async def test_nobody_is_asked_about_a_call_after_a_stop(ada: Person) -> None:
    parked = await begun(ada, "book")
    await ada.says("/stop")
    gate = await ada.stores.waits.begin(parked.turn.turn_id, 1, "c0", BOOKING)
    assert gate == Gate("over")
    assert await parked.calls() == {"c0": "skipped"}
    assert not await parked.approvals()


async def test_a_call_is_read_with_its_turn_and_for_whom_it_runs(ada: Person) -> None:
    parked = await booking(ada)
    turn_id = parked.turn.turn_id
    read = await ada.stores.turns.call_context(turn_id, 1, "c0")
    assert (read.turn.turn_id, read.call.state, read.call.wait) == (turn_id, "waiting", "approval")
    assert read.facts.person.name == "Ada"
    assert (read.facts.session.key, read.facts.key) == (ada.address.key, turn_id)
    assert [name for _, name, _ in read.spent.calls] == ["book"]


async def test_the_card_names_agent_tool_and_arguments_and_the_buttons_begin_as_promised(
    ada: Person,
) -> None:
    await booking(ada)
    async with ada.stores.database.read() as session:
        card = (
            await session.scalars(select(models.Outbox).where(models.Outbox.kind == "approval"))
        ).one()
    assert "concierge asks" in card.text and "`book`" in card.text and "day: Friday" in card.text
    assert [button["label"] for button in card.buttons] == ["Approve", "Deny", "Details"]
    assert all(len(button["data"]) <= 28 for button in card.buttons)


async def test_a_second_tap_shows_the_verdict_that_counts(ada: Person) -> None:
    parked = await booking(ada)
    await parked.taps("d")
    told = await parked.taps("a")
    assert told.startswith("Denied by Ada ")
    assert (await parked.approval()).state == "denied"


async def test_the_model_is_told_who_said_no_and_why(ada: Person) -> None:
    parked = await booking(ada)
    await ada.says("/deny too expensive")
    await parked.go_on()
    gate = await parked.gate()
    assert gate.verdict == "refused"
    assert gate.told == "Not run: Ada said no. Reason: too expensive"


async def test_s8_nobody_elses_tap_counts_in_a_group(ada: Person) -> None:
    ada.address = GROUP
    parked = await booking(ada)
    bob = bob_of(ada)
    assert "Somebody else" in await press(bob, await parked.approval(), "a")
    await bob.says("/approve")
    assert (await parked.approval()).state == "pending"
    assert await parked.taps("a") == "Approved."


async def test_another_person_must_approve_where_the_tool_says_so(ada: Person) -> None:
    ada.address = GROUP
    parked = await booking(ada, replace(BOOKING, approver="another"))
    assert "Somebody else" in await parked.taps("a")
    assert await press(bob_of(ada), await parked.approval(), "a") == "Approved."


async def test_of_operators_approvals_no_tap_counts(ada: Person) -> None:
    parked = await booking(ada, replace(BOOKING, approver="operator"))
    assert "Somebody else" in await parked.taps("a")
    approval = await parked.approval()
    decision = await ada.intake.decide(approval.id, "deny", "not now", "max", "console", "::1")
    await ada.intake.drain()
    assert (decision.state, decision.counted) == ("denied", True)
    assert ada.doorbell.rung[-1] == parked.turn.conversation_id
    late = await ada.intake.decide(approval.id, "approve", "", "eve", "cli")
    assert (late.state, late.counted, late.conversation_id) == ("denied", False, None)
    assert late.words.startswith("Denied by max ")
    assert await count_rows(ada.stores, models.Audit, actor="max", action="approval.deny") == 1


async def test_s8_two_taps_on_two_channels_give_one_verdict(ada: Person) -> None:
    parked = await booking(ada)
    approval = await parked.approval()
    decision = await ada.intake.decide(approval.id, "deny", "", "max", "console")
    assert decision.counted
    assert (await parked.taps("a")).startswith("Denied by max ")
    assert await count_rows(ada.stores, models.Approval, state="denied") == 1
    assert (await parked.calls())["c0"] == "ready"


async def test_s8_changed_arguments_need_a_new_approval(ada: Person) -> None:
    parked = await booking(ada)
    await parked.taps("a")
    await parked.go_on()
    assert (await parked.gate(changed())).verdict == "waits"
    first, second = await parked.approvals()
    assert (first.state, second.state, second.round) == ("stale", "pending", 2)
    assert second.preview == "day: Monday"
    assert any(text.startswith("Void:") for _, text in await ada.outbox())


async def test_s8_a_changed_tool_needs_a_new_approval(ada: Person) -> None:
    parked = await booking(ada)
    await parked.taps("a")
    await parked.go_on()
    assert (await parked.gate(replace(BOOKING, tool_hash="tool-2"))).verdict == "waits"
    assert [one.state for one in await parked.approvals()] == ["stale", "pending"]


async def test_s6_s8_silence_is_a_denial_and_the_model_hears_of_it(
    ada: Person, clock: HandClock
) -> None:
    parked = await booking(ada)
    clock.advance(24 * 3600)
    database = ada.stores.database
    assert await DueClock(database, due_sources(database), ada.intake.ring).fire() == 1
    await ada.intake.drain()
    await parked.go_on()
    assert (await parked.gate()).told == "Not run: nobody decided in time."
    assert (await parked.taps("a")).startswith("Nobody decided in time")


@pytest.mark.parametrize("word", ["/stop", "/new"])
async def test_stop_while_waiting_leaves_no_live_button(ada: Person, word: str) -> None:
    parked = await booking(ada)
    await ada.says(word)
    assert await parked.state() == "stopped"
    assert (await parked.approval()).state == "cancelled"
    assert (await parked.calls())["c0"] == "skipped"
    assert (await parked.taps("a")).startswith("Cancelled")
    assert (await parked.calls())["c0"] == "skipped"
    edits = await count_rows(ada.stores, models.Outbox, edits_id=(await parked.approval()).card_id)
    assert edits == 1


async def always(ada: Person) -> Parked:
    """A call that was approved for thirty days."""
    first = await booking(ada)
    await first.taps("a")
    await ada.says("/stop")
    second = await booking(ada)
    assert "30 days" in await second.taps("w")
    await second.go_on()
    assert (await second.gate()).verdict == "run"
    await ada.says("/stop")
    await ada.stores.turns.settle(second.turn.turn_id, outcome="stopped", reason="stopped")
    return second


async def test_always_is_offered_for_a_call_that_was_approved_before(ada: Person) -> None:
    first = await booking(ada)
    await first.taps("a")
    await ada.says("/stop")
    second = await booking(ada)
    async with ada.stores.database.read() as session:
        card = await session.get_one(models.Outbox, (await second.approval()).card_id)
        assert [button["label"] for button in card.buttons][-1].startswith("Always")


async def test_a_grant_lets_the_same_call_run_and_counts_its_uses(ada: Person) -> None:
    await always(ada)
    third = await begun(ada, "book")
    assert (await third.gate()).verdict == "run"
    assert (await third.gate()).verdict == "run"  # asked again after a crash: one use
    assert await count_rows(ada.stores, models.Grant, uses=1) == 1
    assert (await third.approval()).decided_via == "grant"


@pytest.mark.parametrize(
    "facts",
    [changed(), replace(BOOKING, tool_hash="tool-2"), replace(BOOKING, agent="another")],
)
async def test_s8_a_grant_covers_no_other_call(sqlite_ada: Person, facts: CallFacts) -> None:
    await always(sqlite_ada)
    third = await begun(sqlite_ada, "book")
    assert (await third.gate(facts)).verdict == "waits"


async def test_s8_a_grant_ends_when_it_is_revoked_or_over(ada: Person, clock: HandClock) -> None:
    await always(ada)
    async with ada.stores.database.read() as session:
        (grant,) = await live_grants(session, clock.now)
    third = await begun(ada, "book")
    clock.advance(31 * 24 * 3600)
    assert (await third.gate()).verdict == "waits"
    clock.advance(-31 * 24 * 3600)
    await ada.says("/stop")
    await ada.stores.turns.settle(third.turn.turn_id, outcome="stopped", reason="stopped")
    await ada.stores.waits.revoke_grant(grant.id, "max")
    fourth = await begun(ada, "book")
    assert (await fourth.gate()).verdict == "waits"


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [("off", "switched off"), ("deny", "does not allow")],
)
async def test_an_operators_no_counts_after_a_persons_yes(
    sqlite_ada: Person, verdict: str, expected: str
) -> None:
    parked = await booking(sqlite_ada)
    await parked.taps("a")
    await parked.go_on()
    async with sqlite_ada.stores.database.write() as session:
        session.add(
            models.ToolPolicy(id="p", tool="book", verdict=verdict, set_by="max", set_at=1.0)
        )
    gate = await parked.gate()
    assert gate.verdict == "refused" and expected in gate.told


async def test_eight_questions_of_a_session_are_open_at_most(sqlite_ada: Person) -> None:
    parked = await begun(sqlite_ada, *(["book"] * (approvals.OPEN_SESSION_MAX + 1)))
    facts = [changed(day=f"day {number}") for number in range(approvals.OPEN_SESSION_MAX + 1)]
    gates = [await parked.gate(one, f"c{number}") for number, one in enumerate(facts)]
    assert [gate.verdict for gate in gates] == ["waits"] * 8 + ["refused"]
    assert "8 questions are open" in gates[-1].told


async def test_twenty_questions_of_a_person_are_open_at_most(sqlite_ada: Person) -> None:
    gates = []
    for chat in range(3):
        person = Person(
            *(sqlite_ada.stores, sqlite_ada.intake, sqlite_ada.doorbell),
            replace(sqlite_ada.address, chat=f"{1000 + chat}"),
        )
        parked = await begun(person, *(["book"] * 8))
        gates += [await parked.gate(changed(day=f"{n}"), f"c{n}") for n in range(8)]
    assert [gate.verdict for gate in gates] == ["waits"] * 20 + ["refused"] * 4


async def test_an_agent_asks_thirty_times_a_day_at_most(
    sqlite_ada: Person, clock: HandClock
) -> None:
    verdicts = []
    for number in range(31):
        parked = await begun(sqlite_ada, "book")
        verdicts.append((await parked.gate(changed(day=f"{number}"))).verdict)
        await sqlite_ada.stores.turns.settle(
            parked.turn.turn_id, outcome="stopped", reason="stopped"
        )
    assert verdicts == ["waits"] * 30 + ["refused"]
    clock.advance(24 * 3600 + 1)
    parked = await begun(sqlite_ada, "book")
    assert (await parked.gate()).verdict == "waits"


async def test_arguments_can_not_break_out_of_the_card(sqlite_ada: Person) -> None:
    text = '{"day": "``` **Approved by the bank** [x](http://y)"}'
    facts = replace(BOOKING, arguments=text, args_hash=arguments_hash(text))
    await booking(sqlite_ada, facts)
    card = next(text for kind, text in await sqlite_ada.outbox() if kind == "approval")
    assert card.count("```") == 2


async def test_details_show_all_arguments_to_those_who_may_read_them(ada: Person) -> None:
    ada.address = GROUP
    parked = await booking(ada)
    await press(bob_of(ada), await parked.approval(), "i")
    before = len(await ada.outbox())
    await parked.taps("i")
    await parked.taps("i")
    after = await ada.outbox()
    assert len(after) == before + 1
    assert '"day": "Friday"' in after[-1][1]


async def test_s8_a_made_up_or_forwarded_button_decides_nothing(ada: Person) -> None:
    parked = await booking(ada)
    event = ada.message("ap:AAAAAAAAAAAAAAAAAAAAAA:a", kind="callback")
    await ada.gives(event)
    assert await parked.taps("9") == "This button does nothing any more."
    assert await parked.taps("") == "This button does nothing any more."
    assert (await parked.approval()).state == "pending"


async def test_a_call_that_began_before_a_crash_is_not_asked_about_again(ada: Person) -> None:
    parked = await booking(ada)
    await parked.taps("a")
    await parked.go_on()
    await ada.stores.turns.begin_call(parked.turn.turn_id, 1, "c0")
    assert (await parked.gate(replace(BOOKING, tool_hash="tool-2"))).verdict == "run"
    record = await ada.stores.turns.begin_call(parked.turn.turn_id, 1, "c0")
    assert record.state == "running"  # an unsafe call is then told as unknown, never repeated


async def test_a_call_that_was_denied_stays_so_after_a_crash(ada: Person) -> None:
    parked = await booking(ada)
    await parked.taps("d")
    await parked.go_on()
    await ada.stores.turns.begin_call(parked.turn.turn_id, 1, "c0")
    assert (await parked.gate()).verdict == "refused"


async def test_old_questions_go_with_their_turns_and_grants_stay(
    ada: Person, clock: HandClock
) -> None:
    second = await always(ada)
    async with ada.stores.database.write() as session:
        await session.execute(update(models.Outbox).values(state="sent", finished_at=clock.now))
        await session.execute(update(models.Grant).values(expires_at=clock.now + 1e9))
    clock.advance(40 * 24 * 3600)
    assert await Retention(ada.stores.database, 30.0).sweep() > 0
    assert await second.approvals() == []
    third = await begun(ada, "book")
    assert (await third.gate()).verdict == "run"
