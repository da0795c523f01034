"""Where another person must decide, operators decide nothing that they asked for themselves."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import select

from roost_channels.message import Address, Sender
from roost_platform.db import models
from roost_platform.db.stores import Stores, open_stores
from roost_platform.errors import NotAllowed
from roost_platform.intake import PlatformIntake
from roost_platform.testing.api_server import api_server
from roost_platform.testing.chats import DoorbellLog, Person
from roost_platform.testing.waiting import BOOKING, booking

BY_ANOTHER = replace(BOOKING, approver="another")


@pytest.fixture
async def stores(database_url: str) -> AsyncIterator[Stores]:
    opened = open_stores(database_url)
    yield opened
    await opened.close()


def on_console(stores: Stores, sender: Sender) -> Person:
    bell = DoorbellLog()
    intake = PlatformIntake(stores, bell)
    return Person(stores, intake, bell, Address("console", "local", "try"), sender)


async def test_a_login_does_not_approve_what_it_asked_for_in_the_consoles_chat(
    stores: Stores,
) -> None:
    async with stores.database.write() as session:
        for id, name in (("op1", "max"), ("op2", "eve")):
            session.add(
                models.Operator(id=id, name=name, password_hash="", role="operator", created_at=0.0)
            )
    max_ = on_console(stores, Sender("operator:op1", "max"))
    parked = await booking(max_, BY_ANOTHER)
    approval = await parked.approval()
    for verdict in ("approve", "deny"):
        with pytest.raises(NotAllowed, match="Somebody other than the one who asked"):
            await max_.intake.decide(approval.id, verdict, "", "max", "console")
    assert (await parked.approval()).state == "pending"
    decision = await max_.intake.decide(approval.id, "approve", "", "eve", "console")
    assert decision.counted


async def test_a_token_does_not_approve_what_it_asked_for(stores: Stores, tmp_path: Path) -> None:
    async with api_server(stores, tmp_path) as server:
        http = httpx2.AsyncClient(base_url=server.url, trust_env=False)
        said = await http.post(
            "/api/sessions/try/messages", json={"text": "Book."}, headers=server.as_("operator")
        )
        assert said.status_code == 202
        async with stores.database.read() as session:
            address = await session.scalar(
                select(models.Alias.address).where(models.Alias.channel == "console")
            )
        assert address is not None
        parked = await booking(on_console(stores, Sender(address, "operator")), BY_ANOTHER)
        id = (await parked.approval()).id
        refused = await http.post(
            f"/api/approvals/{id}", json={"verdict": "approve"}, headers=server.as_("operator")
        )
        assert refused.status_code == 409
        assert "Somebody other than the one who asked" in refused.json()["detail"]
        done = await http.post(
            f"/api/approvals/{id}", json={"verdict": "approve"}, headers=server.as_("admin")
        )
        assert done.json() == {"id": id, "state": "approved"}
        await http.aclose()
