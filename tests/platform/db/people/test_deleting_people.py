"""A person's data in every store: exported whole, and after a deletion found nowhere."""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select, update

from roost.schedules.keeper import Wanted
from roost_channels.message import Address, Attachment, Quote, Sender
from roost_inference.client.sessions import EngineSession
from roost_platform.db import models
from roost_platform.db.due.schedules import DueSchedules
from roost_platform.db.gateway.keys import GatewayKeys
from roost_platform.db.models import Base
from roost_platform.db.people.notes import PersonNoteStore
from roost_platform.db.stores import Stores
from roost_platform.errors import NotFound
from roost_platform.gateway.keys.ports import Reservation, Spent
from roost_platform.intake import PlatformIntake
from roost_platform.privacy import deletion
from roost_platform.privacy.belongings import (
    BY_ADDRESS,
    TABLES_OF_NOBODY,
    conversation_tables,
    person_tables,
)
from roost_platform.privacy.deletion import delete_person
from roost_platform.privacy.export import export_person
from roost_platform.testing.chats import DoorbellLog, HintLog, Person
from roost_platform.testing.console.rows import delivered
from roost_workflows.ports import PlannedCall, Snapshot, TurnRecord

GROUP = Address("telegram", "42", "-100777", is_group=True)
# One secret for each place in which a person's data can be.
SECRETS = {
    name: f"canary{number:02}{name}zq"
    for number, name in enumerate(
        (
            *("message", "name", "username", "quoted", "raw", "filename", "filebytes", "payload"),
            *("forwarded", "arguments", "result", "toolerror", "turnerror", "progress", "answer"),
            *("sent", "attempt", "note", "grouptext", "groupaside", "groupanswer", "groupresult"),
            *("second", "groupfile", "reminder", "job", "groupreminder"),
        )
    )
}
OTHERS = "Bob keeps these words of his"


@pytest.fixture
def hints() -> HintLog:
    return HintLog()


@pytest.fixture
def intake(stores: Stores, doorbell: DoorbellLog, hints: HintLog) -> PlatformIntake:
    return PlatformIntake(stores, doorbell, hints)


@pytest.fixture
def ada(stores: Stores, intake: PlatformIntake, doorbell: DoorbellLog) -> Person:
    sender = Sender("777000123", SECRETS["name"], SECRETS["username"])
    return Person(stores, intake, doorbell, Address("telegram", "42", "777000123"), sender)


def in_group(person: Person, name: str, address: str) -> Person:
    sender = Sender(address, name, "")
    return Person(person.stores, person.intake, person.doorbell, GROUP, sender)


async def private_chat(ada: Person) -> str:
    """A turn with tools, a file, a quote and an answer; returns the person's id."""
    quote = Quote(ref="x1", author="other", text=SECRETS["quoted"], excerpt=SECRETS["quoted"])
    message = ada.message(SECRETS["message"], quote=quote)
    file = Attachment("document", "f1", f"{SECRETS['filename']}.txt", "text/plain")
    await ada.gives(
        replace(
            message,
            raw={"deep": [{"text": SECRETS["raw"]}]},
            payload=SECRETS["payload"],
            forwarded_from=SECRETS["forwarded"],
            attachments=(file,),
        )
    )
    store = ada.stores.artifacts
    (due,) = await store.fetches([("telegram", "42")], ada.stores.database.now(), 5)
    await store.fetched(due.artifact_id, SECRETS["filebytes"].encode())
    turn = await ada.turn()
    context = await ada.stores.turns.context(turn.turn_id, 1)
    snapshot = Snapshot("answering", SECRETS["progress"])
    await ada.stores.turns.progress(turn.turn_id, snapshot)
    call = PlannedCall("c1", "look_up", json.dumps({"q": SECRETS["arguments"]}), "pure")
    await ada.agent_says(turn, 1, "wait", finish="tools", calls=[call])
    await ada.stores.turns.begin_call(turn.turn_id, 1, "c1")
    await ada.stores.turns.finish_call(
        *(turn.turn_id, 1, "c1"),
        status="ok",
        result=SECRETS["result"],
        error=SECRETS["toolerror"],
    )
    await ada.stores.turns.close_group(turn.turn_id, 1)
    await ada.stores.turns.note_error(turn.turn_id, SECRETS["turnerror"])
    await ada.agent_says(turn, 2, SECRETS["answer"])
    await PersonNoteStore(ada.stores.database).add(context.person_id, "k1", SECRETS["note"])
    async with ada.stores.database.write() as session:
        await session.execute(
            update(models.Turn)
            .where(models.Turn.id == turn.turn_id)
            .values(error=SECRETS["turnerror"])
        )

        async def add(row: models.Base) -> None:
            session.add(row)
            await session.flush()

        id = await delivered(
            add,
            turn.conversation_id,
            "telegram",
            "42",
            turn.turn_id,
            "notice",
            SECRETS["sent"],
            ada.stores.database.now(),
            1,
        )
        parts = select(models.Part.id).where(models.Part.outbox_id == id)
        await session.execute(
            update(models.DeliveryAttempt)
            .where(models.DeliveryAttempt.part_id.in_(parts))
            .values(description=SECRETS["attempt"])
        )
        session.add(
            models.ListedName(
                channel="telegram",
                account="42",
                name=SECRETS["username"],
                address="777000123",
                bound_at=1.0,
            )
        )
        session.add(models.ChatWait(channel="telegram", account="42", chat="777000123", until=9.0))
    await scheduled_things(ada)
    await ada.says("/new", SECRETS["second"])  # another session, and a turn that runs
    await ada.turn()
    return context.person_id


async def scheduled_things(ada: Person) -> None:
    """A reminder and a job, both of which have fired."""
    await ada.says(f"/remind in 20 minutes {SECRETS['reminder']}")
    await ada.says("and a job")
    turn = await ada.turn()
    wanted = Wanted("job", SECRETS["job"], {"in_s": 1200})
    await ada.stores.schedules.add(turn.turn_id, "k", wanted)
    await ada.agent_says(turn, 1, "I will.")
    now = ada.stores.database.now() + 1200
    (job,) = await DueSchedules(ada.stores.database).fire(now, 9)
    turn_of_job = await ada.stores.turns.begin(job)
    assert isinstance(turn_of_job, TurnRecord)
    await ada.agent_says(turn_of_job, 1, SECRETS["answer"])


async def group_chat(ada: Person) -> None:
    """Words of the person in a chat of others: addressed, aside, quoted by another, answered."""
    here = in_group(ada, SECRETS["name"], "777000123")
    bob = in_group(ada, "Bob Other", "555")
    await ada.gives(replace(here.message(SECRETS["groupaside"]), is_addressed=False))
    first = replace(bob.message(OTHERS), message_id="b1", event_id="b1")
    await ada.gives(first)
    turn = await bob.turn()
    await bob.agent_says(turn, 1, "Yes, Bob.")
    reminder = here.message(f"/remind in 20 minutes {SECRETS['groupreminder']}")
    await ada.gives(replace(reminder, message_id="a8", event_id="a8"))
    due = ada.stores.database.now() + 1200
    await DueSchedules(ada.stores.database).fire(due, 9)
    file = Attachment("document", "g1", f"{SECRETS['groupfile']}.txt", "text/plain")
    asked = here.message(SECRETS["grouptext"])
    asked = replace(asked, message_id="a9", event_id="a9", attachments=(file,))
    await ada.gives(asked)
    turn = await bob.turn()
    call = PlannedCall("c1", "look_up", "{}", "pure")
    await bob.agent_says(turn, 1, "", finish="tools", calls=[call])
    await bob.stores.turns.finish_call(
        turn.turn_id, 1, "c1", status="ok", result=SECRETS["groupresult"]
    )
    await bob.stores.turns.close_group(turn.turn_id, 1)
    await bob.agent_says(turn, 2, SECRETS["groupanswer"])
    quote = Quote(ref="a9", author="user", text=SECRETS["grouptext"], excerpt="group")
    raw = {"reply_to_message": {"from": {"first_name": SECRETS["name"]}, "id": 777000123}}
    reply = bob.message("I agree with her", quote=quote)
    await ada.gives(replace(reply, message_id="b2", event_id="b2", raw=raw))
    await bob.turn()


async def everything(stores: Stores, folder: Path) -> str:
    """Every row of every table, and every byte of every file."""
    texts: list[str] = []
    async with stores.database.read() as session:
        for table in Base.metadata.sorted_tables:
            for row in await session.execute(select(table)):
                texts.append(json.dumps([str(value) for value in row], ensure_ascii=False))
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            texts.append(f"{path}\n{path.read_bytes().decode('utf-8', 'replace')}")
    return "\n".join(texts)


def found(text: str, secrets: Mapping[str, str] = SECRETS) -> set[str]:
    return {name for name, secret in secrets.items() if secret in text}


async def test_a_canary_of_every_store_is_exported_and_after_the_deletion_nowhere(
    ada: Person, tmp_path: Path, hints: HintLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "QUIET_WAIT_S", 0.5)
    person_id = await private_chat(ada)
    await group_chat(ada)
    before = await everything(ada.stores, tmp_path)
    assert found(before) == set(SECRETS)
    conversation_id = await ada.conversation_id()
    await ada.stores.people.approve(person_id, "Grace")  # audited by the id alone

    exported = io.BytesIO()
    await export_person(ada.stores, person_id, exported)
    with zipfile.ZipFile(exported) as archive:
        whole = "\n".join(archive.read(name).decode() for name in archive.namelist())
    of_answers_in_groups = {"groupanswer", "groupresult"}
    assert found(whole) == set(SECRETS) - of_answers_in_groups
    assert OTHERS not in whole

    done = await delete_person(ada.stores, ada.intake, person_id, "Grace", "127.0.0.1")
    assert (done.conversations, done.groups, done.written_over) == (2, 1, True)
    assert done.messages >= 5 and done.files == 2
    after = await everything(ada.stores, tmp_path)
    assert found(after) == set()
    assert "777000123" not in after
    assert OTHERS in after and "I agree with her" in after and "Yes, Bob." in after
    assert "[deleted]" in after
    assert await ada.stores.people.get(person_id) is None
    ended = {session for hint, session, _ in hints.given if hint == "ended"}
    assert len(ended) >= 3  # two sessions of the private chat, and the group's
    (entry, *_) = [e for e in await ada.stores.audit.list() if e.action == "person.delete"]
    assert (entry.actor, entry.object, entry.ip) == ("Grace", person_id, "127.0.0.1")
    assert conversation_id in ada.doorbell.stopped  # what ran was told to stop
    assert await ada.stores.audit.verify() is None
    with pytest.raises(NotFound):
        await delete_person(ada.stores, ada.intake, person_id, "Grace")
    with pytest.raises(NotFound):
        await export_person(ada.stores, person_id, io.BytesIO())


async def test_a_deleted_person_is_a_stranger_and_a_catch_up_brings_nothing_back(
    ada: Person, tmp_path: Path
) -> None:
    accepted = await ada.says("one", "two")
    assert accepted.stored == 2
    async with ada.stores.database.read() as session:
        identity = await session.scalar(select(models.Identity.id))
    assert identity is not None
    await delete_person(ada.stores, ada.intake, identity, "Grace")
    seen = ["777000123:1", "777000123:2", "777000123:3"]
    assert await ada.intake.unseen("telegram", "42", seen) == {"777000123:3"}
    await ada.says("hello again")
    assert await ada.inbox() == [("hello again", "pending")]
    turn = await ada.turn()
    context = await ada.stores.turns.context(turn.turn_id, 1)
    assert context.person_id != identity
    assert [message.content for message in context.messages] == ["hello again"]


async def test_others_are_left_as_they_were(ada: Person, tmp_path: Path) -> None:
    bob = Person(
        ada.stores, ada.intake, ada.doorbell, Address("telegram", "42", "555"), Sender("555", "Bob")
    )
    await bob.says(OTHERS)
    await ada.says("mine")
    async with ada.stores.database.read() as session:
        person = await session.scalar(
            select(models.Alias.identity_id).where(models.Alias.address == "777000123")
        )
    await delete_person(ada.stores, ada.intake, str(person), "Grace")
    turn = await bob.turn()
    context = await bob.stores.turns.context(turn.turn_id, 1)
    assert [message.content for message in context.messages] == [OTHERS]


async def test_what_was_used_is_told_to_the_person_and_stays_without_them(
    ada: Person, tmp_path: Path
) -> None:
    await ada.says("hello")
    turn = await ada.turn()
    async with ada.stores.database.read() as session:
        person = str(await session.scalar(select(models.Alias.identity_id)))
        session_id = str(await session.scalar(select(models.Session.id)))
    keys = GatewayKeys(ada.stores.database)
    for id, named, chat in (("a", person, ""), ("b", "", session_id), ("c", "bob", "else")):
        wanted = Reservation(id, "", "chat", "fast", 0, 0, person=named, session=chat)
        await keys.record(wanted, Spent(id, "ok", 200, input_tokens=5, cost_microusd=3))
    await ada.agent_says(turn, 1, "done")
    file = io.BytesIO()
    await export_person(ada.stores, person, file)
    told = zipfile.ZipFile(file).read("tables/gateway_calls.jsonl").decode().splitlines()
    assert {json.loads(line)["id"] for line in told} == {"a", "b"}
    await delete_person(ada.stores, ada.intake, person, "Grace")
    async with ada.stores.database.read() as session:
        rows = await session.scalars(select(models.GatewayCall).order_by(models.GatewayCall.id))
        assert [(row.person, row.session, row.cost_microusd) for row in rows] == [
            ("", "", 3),
            ("", "", 3),
            ("bob", "else", 3),
        ]


def test_every_table_is_known_to_hold_people_or_nobody() -> None:
    known = {*conversation_tables(), *person_tables(), *BY_ADDRESS, *TABLES_OF_NOBODY}
    known |= {"identities"}
    assert {table.name for table in Base.metadata.sorted_tables} <= known


def test_an_engine_session_is_forgotten_by_its_id_and_salt(
    intake: PlatformIntake, hints: HintLog
) -> None:
    intake.forget([EngineSession("s1", "salt")])
    assert hints.given == [("ended", "s1", "salt")]
