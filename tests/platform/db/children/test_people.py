"""What people and operators see and decide of agents that work for their chat."""

import io
import zipfile

from sqlalchemy import select

from roost import Agent, tool
from roost.builtin import delegate
from roost_channels.message import CARD_BUTTON
from roost_platform.db import models
from roost_platform.privacy.deletion import delete_person
from roost_platform.privacy.export import export_person
from roost_platform.testing.chats import Person, count_rows
from roost_platform.testing.workers import InProcessWorker
from roost_platform.views.sessions import SessionFilter, sessions
from roost_platform.views.workflows.children import children_of

PAID: list[str] = []
SECRET = "canaryheronzq"


@tool(effect="unsafe", approval="ask")
async def pay(to: str) -> str:
    """Pay somebody."""
    PAID.append(to)
    return "paid"


CLERK = Agent("clerk", "Pay bills.", tools=[pay])
BOSS = Agent("concierge", "Lead.", tools=[delegate(CLERK)])


def script(worker: InProcessWorker) -> None:
    worker.model.lines = {
        BOSS.instructions: [[("clerk", {"task": f"Pay {SECRET}."})], "It is paid."],
        CLERK.instructions: [[("pay", {"to": "eve"})], "Paid."],
    }


async def test_child_asks_in_the_chat_at_the_top_by_its_name(ada: Person) -> None:
    PAID.clear()
    worker = InProcessWorker(ada, BOSS)
    script(worker)
    await ada.says("Pay it.")
    await worker.work()
    [(kind, text)] = await ada.outbox()
    assert kind == "approval" and text.startswith("**clerk (for concierge) asks: may I run `pay`?")
    assert PAID == []
    async with ada.stores.database.read() as session:
        approval = await session.scalar(select(models.Approval))
    assert approval is not None
    await ada.gives(ada.message(f"{CARD_BUTTON}{approval.nonce}:a", kind="callback"))
    await worker.work()
    assert PAID == ["eve"]
    assert (await ada.outbox())[-1] == ("answer", "It is paid.")


async def test_child_may_not_do_what_is_off_for_whom_it_works(ada: Person) -> None:
    PAID.clear()
    async with ada.stores.database.write() as session:
        session.add(
            models.ToolPolicy(
                id="p",
                agent="concierge",
                tool="pay",
                channel="",
                person_id="",
                verdict="off",
                set_by="olga",
                set_at=ada.stores.database.now(),
            )
        )
    worker = InProcessWorker(ada, BOSS)
    script(worker)
    await ada.says("Pay it.")
    await worker.work()
    assert PAID == []
    results = [
        one["content"] for one in worker.model.of(CLERK)[-1].messages if "tool" in one["role"]
    ]
    assert results == ["[error] Not run: pay is switched off by an operator."]


async def test_lists_show_chats_and_a_chat_its_tree(ada: Person) -> None:
    worker = InProcessWorker(ada, BOSS)
    script(worker)
    await ada.says("Pay it.")
    await worker.work()
    chat = await ada.conversation_id()
    async with ada.stores.database.read() as session:
        total, rows = await sessions(session, SessionFilter(), 1, with_texts=True)
        [child] = await children_of(session, chat)
    assert total == 1 and [row.id for row in rows] == [chat]
    assert rows[0].state == "waiting"
    assert (child.agent, child.state.word, child.depth) == ("clerk", "waiting", 1)
    assert child.is_working and child.is_waited


async def test_agents_leave_and_are_exported_with_the_person(ada: Person) -> None:
    worker = InProcessWorker(ada, BOSS)
    script(worker)
    await ada.says("Pay it.")
    await worker.work()
    async with ada.stores.database.read() as session:
        identity_id = await session.scalar(select(models.Identity.id))
    assert identity_id is not None
    file = io.BytesIO()
    await export_person(ada.stores, identity_id, file)
    with zipfile.ZipFile(file) as archive:
        assert SECRET in archive.read("tables/child_tasks.jsonl").decode()
        assert "Pay bills" not in archive.read("tables/transcript.jsonl").decode()
        assert SECRET in archive.read("tables/transcript.jsonl").decode()
    await delete_person(ada.stores, ada.intake, identity_id, "olga")
    for table in (models.ChildTask, models.Conversation, models.Turn, models.Budget):
        assert await count_rows(ada.stores, table) == 0
