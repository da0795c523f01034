"""Tenants: salts that are minted once and kept, and what the engine is told of whose sessions."""

import re
from dataclasses import replace

from roost_channels.message import Address
from roost_inference.client.engine_client import ChatRequest, EngineClient
from roost_inference.http.listener import listening
from roost_inference.server import build_server
from roost_inference.testing.harness import toy_engine
from roost_inference.testing.toy import ToyBackend
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.stores import open_stores
from roost_platform.intake import PlatformIntake
from roost_platform.testing.chats import DoorbellLog, HintLog, Person
from roost_workflows.model_calls import Usage
from roost_workflows.ports import ModelCall

GRACE = Address("telegram", "42", "2002")
WANDA = Address("whatsapp", "w", "3003")


def beside(ada: Person, address: Address, hints: HintLog | None = None) -> Person:
    """Somebody in another chat of the same installation."""
    intake = PlatformIntake(ada.stores, ada.doorbell, hints)
    sender = replace(ada.sender, address=address.chat)
    return Person(ada.stores, intake, ada.doorbell, address, sender)


async def salt_of(person: Person) -> str:
    await person.says("hello")
    turn = await person.turn()
    return (await person.stores.turns.context(turn.turn_id, 1)).cache_salt


async def test_chats_are_tenants_with_salts_nobody_can_guess(ada: Person) -> None:
    own = await salt_of(ada)
    assert re.fullmatch("[0-9a-f]{32}", own)
    assert await salt_of(ada) == own
    others = {await salt_of(beside(ada, address)) for address in (GRACE, WANDA)}
    assert len(others) == 2 and own not in others
    assert await ada.stores.tenants.salts([("telegram", "42")]) == []


async def test_an_account_can_be_one_tenant(sqlite_url: str) -> None:
    stores = open_stores(Database(sqlite_url), tenant_scope="account")
    accounts = [("telegram", "42"), ("whatsapp", "w"), ("telegram", "42")]
    assert len(await stores.tenants.salts(accounts)) == 2
    await stores.close()


async def test_s18_another_person_s_probe_of_the_same_words_finds_nothing_cached(
    ada: Person,
) -> None:
    mine, hers = await salt_of(ada), await salt_of(beside(ada, GRACE))
    engine = toy_engine(ToyBackend(cells=4096))
    engine.start()
    words = [{"role": "user", "content": "my secret is the blue door " * 4}]

    async def cached(client: EngineClient, salt: str) -> int:
        request = ChatRequest(words, max_tokens=1, cache_salt=salt)
        return (await client.complete(request)).cached_tokens

    async with listening(build_server(engine)) as url:
        client = EngineClient(url)
        assert await cached(client, mine) == 0
        assert await cached(client, hers) == 0
        assert await cached(client, mine) > 0
        await client.close()
    engine.close()


async def test_an_installation_can_be_one_tenant(sqlite_url: str) -> None:
    stores = open_stores(Database(sqlite_url), tenant_scope="installation")
    first = await stores.tenants.salts([("telegram", "42"), ("whatsapp", "w")])
    second = await stores.tenants.salts([("console", "local")])
    assert first == second and len(first) == 1
    await stores.close()


async def test_a_message_announces_its_session_and_new_closes_it(ada: Person) -> None:
    hints = HintLog()
    person = beside(ada, GRACE, hints)
    await person.says("hello")
    assert hints.given == []  # a first message has no session yet, and nothing to bring near
    turn = await person.turn()
    salt = (await person.stores.turns.context(turn.turn_id, 1)).cache_salt
    await person.agent_says(turn, 1, "Hi.")
    await person.says("and now?", "well?")
    assert hints.given == [("continues", turn.session_id, salt)]
    await person.says("/status", "/new")
    assert hints.given[1:] == [("ended", turn.session_id, salt)]


async def test_a_redelivery_and_a_strangers_message_announce_nothing(ada: Person) -> None:
    hints = HintLog()
    stranger = beside(ada, Address("telegram", "43", "9009"), hints)
    await stranger.says("hello?", "hello??")
    person = beside(ada, GRACE, hints)
    hello = person.message("hello")
    await person.gives(hello)
    await person.agent_says(await person.turn(), 1, "Hi.")
    await person.gives(hello)
    assert hints.given == []


async def test_the_engines_figures_of_a_call_are_stored_with_it(ada: Person) -> None:
    await ada.says("hello")
    turn = await ada.turn()
    told = {"queue_ms": 1.5, "divergence": {"at_token": 7, "lost_tokens": 3, "in": "m\x00[1]"}}
    await ada.stores.turns.commit_step(
        turn.turn_id, 1, ModelCall("answer", "Hi.", usage=Usage(engine=told))
    )
    async with ada.stores.database.read() as session:
        row = await session.get_one(models.TurnStep, (turn.turn_id, 1))
    told["divergence"] = {"at_token": 7, "lost_tokens": 3, "in": "m[1]"}
    assert row.engine == told


async def test_no_engine_at_all_is_no_reason_to_refuse_a_message(ada: Person) -> None:
    plain = Person(ada.stores, PlatformIntake(ada.stores, DoorbellLog()), ada.doorbell, GRACE)
    assert (await plain.says("hello")).stored == 1
