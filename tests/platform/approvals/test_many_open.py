"""Lists of more open questions than one page, or one look at the database, has."""

from pathlib import Path

import httpx2

from roost_channels.message import Address
from roost_platform.db import models
from roost_platform.db.base.ids import new_id
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import open_stores
from roost_platform.intake import PlatformIntake
from roost_platform.testing.api_server import api_server
from roost_platform.testing.chats import DoorbellLog, Person
from roost_platform.testing.waiting import booking

OPEN = 230


async def test_every_open_question_is_on_a_page_and_counted(
    sqlite_url: str, tmp_path: Path
) -> None:
    stores = open_stores(sqlite_url, policies={("telegram", "42"): AccessPolicy("open")})
    bell = DoorbellLog()
    ada = Person(stores, PlatformIntake(stores, bell), bell, Address("telegram", "42", "900"))
    first = await (await booking(ada)).approval()
    columns = [column.key for column in models.Approval.__table__.columns]
    values = {key: getattr(first, key) for key in columns}
    async with stores.database.write() as session:
        for number in range(1, OPEN):
            own = {"id": new_id(), "nonce": f"n{number}", "round": number + 1}
            session.add(models.Approval(**values | own))
    async with api_server(stores, tmp_path) as server:
        http = httpx2.AsyncClient(
            base_url=server.url, headers=server.as_("viewer"), trust_env=False
        )
        seen: set[str] = set()
        for page in range(1, 20):
            listed = (await http.get("/api/approvals", params={"page": page})).json()
            assert listed["total"] == OPEN
            if not listed["approvals"]:
                break
            seen |= {row["id"] for row in listed["approvals"]}
        await http.aclose()
    await stores.close()
    assert len(seen) == OPEN
