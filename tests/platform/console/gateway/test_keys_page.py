"""The Keys page: every number is that of its row; a secret is shown once; only admins write."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from roost_platform.db.gateway.keys import GatewayKeys
from roost_platform.gateway.errors import KeyRevoked, Unauthorized
from roost_platform.gateway.keys.ports import KEY_PREFIX
from roost_platform.testing.console import ADMIN, ConsoleServer
from roost_platform.testing.console.gateway import key_rows, quiet_gateway
from roost_platform.testing.console.reader import Reader

AS_BROWSER = {"sec-fetch-site": "same-origin", "accept": "text/html"}
NEW = {"name": "laptop", "models": "fast, best,fast", "budget": "2.50", "period": "month"}


@pytest.fixture
def reader(database_url: str) -> Iterator[Reader]:
    with ConsoleServer(database_url, gateway=quiet_gateway).serving() as server:
        cookie = server.sign_in_cookie(ADMIN, "admin")
        with httpx2.Client(base_url=server.url, headers=AS_BROWSER) as http:
            http.cookies.set(cookie["name"], cookie["value"])
            yield Reader(server, http)


def made(answer: httpx2.Response) -> str:
    assert answer.status_code == 200, answer.text
    found = re.search(r'id="made-key">([^<]+)<', answer.text)
    assert found is not None and found[1].startswith(KEY_PREFIX)
    assert answer.headers["cache-control"] == "no-store"
    return found[1]


def keys(reader: Reader) -> GatewayKeys:
    return GatewayKeys(reader.server.stores.database)


def use(reader: Reader, secret: str) -> Any:
    return reader.server.run(keys(reader).find(secret))


def test_every_number_is_that_of_its_row_in_every_state(reader: Reader) -> None:
    async def store() -> None:
        async with reader.server.stores.database.write() as session:
            session.add_all(key_rows(reader.server.clock()))

    reader.server.run(store())
    shown = {row["name"]: row for row in reader.json("/keys.json")["rows"]}
    states = {name: row["state"] for name, row in shown.items()}
    assert {name for name, state in states.items() if state != "active"} == {"expired", "revoked"}
    text = {
        name: one.text for one in reader.page("/keys").rows for name in shown if name in one.text
    }
    assert "Active" in text["without bounds"] and "No bound" in text["without bounds"]
    assert "$1.23, 98 765 tokens used" in text["without bounds"]
    assert "$2.50 of $5.00 this month $0.75 held, $1.75 left" in text["half used"]
    assert "60 requests a minute" in text["half used"] and "4 at once" in text["half used"]
    assert "2 calls run" in text["half used"] and "begins again in" in text["half used"]
    assert "$4.90 of $5.00 this month $0.10 left" in text["nearly spent"]
    assert "1 010 of 1 000 tokens 0 left" in text["spent tokens"]
    assert "Expired" in text["expired"] and "never" in text["expired"]
    assert "expires in" in text["expires soon"] and "compresses" in text["expires soon"]
    assert "Revoked" in text["revoked"] and "Rotate" not in text["revoked"]
    # The month is over, so what was spent in it is not counted any more.
    assert "$0 of $5.00 this month $5.00 left" in text["a new month"]


def test_a_key_that_is_made_works_and_its_secret_is_shown_this_once(reader: Reader) -> None:
    more = {"rpm": "60", "tpm": "1000", "parallel": "3", "expires": "2100-02-03", "compress": "yes"}
    secret = made(reader.http.post("/keys", data={**NEW, **more}))
    key = use(reader, secret)
    assert (key.name, key.models, key.compress) == ("laptop", ("fast", "best"), True)
    listed = reader.http.get("/keys").text
    assert secret not in listed and f"…{secret[-4:]}" in listed
    [row] = reader.json("/keys.json")["rows"]
    assert [(b["most"], b["is_money"]) for b in row["budgets"]] == [(2_500_000, True)]
    assert (row["requests_per_minute"], row["tokens_per_minute"], row["parallel"]) == (60, 1000, 3)
    assert row["expires_at"] == datetime(2100, 2, 3, tzinfo=UTC).timestamp()
    assert reader.sql("SELECT count(*) FROM gateway_keys WHERE secret_hash = :s", s=secret) == 0
    rotated = made(reader.http.post(f"/keys/{row['id']}/rotate"))
    assert rotated != secret
    assert use(reader, rotated).id == key.id
    with pytest.raises(Unauthorized):
        use(reader, secret)
    gone = reader.http.post(f"/keys/{row['id']}/revoke")
    assert (gone.status_code, gone.headers["location"]) == (303, "/keys")
    with pytest.raises(KeyRevoked):
        use(reader, rotated)
    assert reader.http.post(f"/keys/{row['id']}/rotate").status_code == 422
    actions = [one.action for one in reader.server.run(reader.server.stores.audit.list())][::-1]
    assert actions == ["key.create", "key.rotate", "key.revoke"]
    trail = str([one for one in reader.server.run(reader.server.stores.audit.list())])
    assert secret not in trail and rotated not in trail


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": " "}, "is empty"),
        ({"name": "x" * 101}, "at most 100"),
        ({"budget": "a lot"}, "is no amount"),
        ({"budget": "NaN"}, "between 0 and"),
        ({"budget": "-1"}, "between 0 and"),
        ({"budget": "1e30"}, "between 0 and"),
        ({"budget": "0.0000001"}, "six digits"),
        ({"budget_tokens": "1.5"}, "whole number"),
        ({"budget_tokens": "²"}, "whole number"),
        ({"rpm": "0"}, "whole number"),
        ({"tpm": "-3"}, "whole number"),
        ({"parallel": "9" * 19}, "whole number"),
        ({"period": "year"}, "per day, per month"),
        ({"expires": "tomorrow"}, "such as 2027-01-31"),
        ({"expires": "2020-01-01"}, "not in the future"),
        ({"models": ",".join(f"m{n}" for n in range(101))}, "at most 100 models"),
    ],
)
def test_a_form_that_does_not_fit_is_shown_again_with_what_is_wrong(
    reader: Reader, change: Mapping[str, str], says: str
) -> None:
    answer = reader.http.post("/keys", data={**NEW, **change})
    assert answer.status_code == 422
    assert says in answer.text
    assert "fast, best,fast" in answer.text or "models" in change  # as it was filled in
    assert reader.sql("SELECT count(*) FROM gateway_keys") == 0


def test_a_name_is_taken_once(reader: Reader) -> None:
    made(reader.http.post("/keys", data=NEW))
    again = reader.http.post("/keys", data=NEW)
    assert again.status_code == 422 and "already" in again.text


def test_operators_read_and_only_admins_write(reader: Reader) -> None:
    made(reader.http.post("/keys", data=NEW))
    [row] = reader.json("/keys.json")["rows"]
    cookie = reader.server.sign_in_cookie("An operator", "operator")
    reader.http.cookies.set(cookie["name"], cookie["value"])
    page = reader.http.get("/keys")
    assert page.status_code == 200 and "laptop" in page.text
    assert "Make key" not in page.text and "/revoke" not in page.text
    for path in ("/keys", f"/keys/{row['id']}/rotate", f"/keys/{row['id']}/revoke"):
        assert reader.http.post(path, data={**NEW, "name": "other"}).status_code == 403
    assert [one["state"] for one in reader.json("/keys.json")["rows"]] == ["active"]


def test_another_site_cannot_make_a_key(reader: Reader) -> None:
    headers = {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}
    assert reader.http.post("/keys", data=NEW, headers=headers).status_code == 403
    assert reader.sql("SELECT count(*) FROM gateway_keys") == 0
