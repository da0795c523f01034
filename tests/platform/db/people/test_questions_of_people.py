"""Questions of people who are deleted, exported, or found to be one with somebody."""

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

from sqlalchemy import select

from roost_channels.message import Address
from roost_platform.db import models
from roost_platform.db.models import Base
from roost_platform.db.stores import Stores
from roost_platform.privacy.deletion import delete_person
from roost_platform.privacy.export import export_person
from roost_platform.testing.chats import Person
from roost_platform.testing.waiting import BOOKING, begun, booking
from roost_workflows.turn.limits import arguments_hash

SECRETS = ("canaryargumentszq", "canaryreasonzq", "canaryhallzq", "canarynamezq")


async def everything(stores: Stores) -> str:
    """Every row of every table."""
    texts = []
    async with stores.database.read() as session:
        for table in Base.metadata.sorted_tables:
            for row in await session.execute(select(table)):
                texts.append(json.dumps([str(value) for value in row]))
    return "\n".join(texts)


async def test_questions_are_exported_and_after_the_deletion_nowhere(
    ada: Person, tmp_path: Path
) -> None:
    ada.sender = replace(ada.sender, display_name=SECRETS[3])
    text = json.dumps({"day": SECRETS[0]})
    facts = replace(BOOKING, arguments=text, args_hash=arguments_hash(text))
    parked = await booking(ada, facts)
    await parked.taps("a")
    await ada.says("/stop")
    again = await booking(ada, facts)
    await again.taps("w")
    await ada.stores.turns.settle(again.turn.turn_id, outcome="stopped", reason="stopped")
    third = await begun(ada, "book")
    await third.gate(replace(facts, tool_hash="other"))
    await ada.says(f"/deny {SECRETS[1]}")
    ada.address = Address("telegram", "42", "-100", is_group=True)
    hall = json.dumps({"day": SECRETS[2]})
    group = await booking(ada, replace(BOOKING, arguments=hall, args_hash=arguments_hash(hall)))
    approval = await group.approval()
    exported = io.BytesIO()
    await export_person(ada.stores, approval.requester_id, exported)
    with zipfile.ZipFile(exported) as archive:
        tables = {name: archive.read(name).decode() for name in archive.namelist()}
    assert SECRETS[0] in tables["tables/approvals.jsonl"]
    assert SECRETS[1] in tables["tables/approvals.jsonl"]
    assert "nonce" not in tables["tables/approvals.jsonl"]
    assert tables["tables/grants.jsonl"].count("\n") == 1
    await delete_person(ada.stores, ada.intake, approval.requester_id, "Grace")
    left = await everything(ada.stores)
    assert [secret for secret in SECRETS if secret in left] == []
    assert (await group.approval()).state == "unreachable"
    assert await group.calls() == {"c0": "ready"}


async def test_who_is_found_to_be_one_may_answer_for_both(ada: Person) -> None:
    parked = await booking(ada)
    grace = Person(
        *(ada.stores, ada.intake, ada.doorbell),
        Address("whatsapp", "w", "whatsapp:+15551112222"),
        replace(ada.sender, address="whatsapp:+15551112222"),
    )
    await grace.says("/help")
    approval = await parked.approval()
    async with ada.stores.database.read() as session:
        other = await session.scalar(
            select(models.Alias.identity_id).where(models.Alias.channel == "whatsapp")
        )
    await ada.intake.link(str(other), approval.requester_id, "Grace")
    assert (await parked.approval()).requester_id == other
    assert await parked.taps("a") == "Approved."
