"""The example of docs/extending.md keeps the promises that every channel must keep."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from relay.channel import ABSENT_AFTER_S, RelayChannel
from relay.config import RelayConfig
from relay.fake import FakeRelay
from relay.kind import EVENTS, KIND
from roost_channels.channel import Outgoing, check_agreement
from roost_channels.delivery.courier import Courier
from roost_channels.errors import Ambiguous, AuthBroken, NotSent, Unreachable
from roost_channels.kinds import ChannelPorts, WebhookPorts
from roost_channels.message import Address, Quote, ReplyTarget
from roost_channels.registry import BUILT_IN, load_kinds
from roost_channels.rendering.parts import RenderedPart
from roost_channels.testing.clock import VirtualClock
from roost_channels.testing.loopback import LoopbackServer
from roost_channels.testing.memory.intake import MemoryIntake
from roost_channels.testing.memory.outbox import MemoryOutbox
from roost_channels.webhook import WebhookRequest, lowered

ADA = Address("relay", "roost", "ada")
HELLO = RenderedPart("Hello Ada")


def config_of(relay: FakeRelay, key: str = "key") -> RelayConfig:
    values = {"api_base": relay.base_url, "name": "roost", "api_key": key, "webhook_secret": "s"}
    return RelayConfig.model_validate(values)


@dataclass
class Site:
    """Our side: the webhook where the server finds it, over an intake in memory."""

    relay: FakeRelay
    intake: MemoryIntake
    channel: RelayChannel
    clock: VirtualClock = field(default_factory=VirtualClock)


@asynccontextmanager
async def site(secret: str = "s") -> AsyncIterator[Site]:
    intake, clock = MemoryIntake(), VirtualClock()
    async with FakeRelay("roost", "key", secret) as relay:
        handlers = KIND.webhooks and KIND.webhooks(config_of(relay), WebhookPorts(intake))
        assert handlers

        async def serve(request: web.Request) -> web.Response:
            body, values = await request.read(), {"account": "roost"}
            asked = WebhookRequest(
                "POST", request.path_qs, lowered(request.headers), {}, values, body
            )
            reply = await handlers.by_path[EVENTS](asked)
            return web.Response(status=reply.status, body=reply.body)

        server = LoopbackServer(serve)
        await server.start()
        relay.webhook_url = server.base_url
        channel = KIND.open(config_of(relay), ChannelPorts(clock=clock))
        assert isinstance(channel, RelayChannel)
        try:
            yield Site(relay, intake, channel, clock)
        finally:
            await channel.close()
            await server.stop()


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(10.0):
        while not holds():
            await asyncio.sleep(0.01)


async def test_it_registers_and_keeps_what_its_capabilities_promise() -> None:
    assert load_kinds(("relay.kind:KIND",)) == (*BUILT_IN, KIND)
    async with site() as ours:
        check_agreement(ours.channel)


async def test_a_message_in_a_groups_thread_arrives_with_its_quote() -> None:
    async with site() as ours:
        ours.intake.quotes["team", "7"] = Quote("7", "bot", "Rome or Paris?", "Rome or Paris?")
        ours.relay.says("ada", "@roost Rome", chat="team", thread="trip", reply_to="7")
        ours.relay.says("bob", "I agree", chat="team", thread="trip", reply_to="6")
        await until(lambda: len(ours.intake.messages) == 2)
        asked, chatter = sorted(ours.intake.messages.values(), key=lambda one: one.event_id)
        assert (asked.address.key, asked.is_group) == ("relay:roost:team:trip", True)
        assert (asked.is_addressed, chatter.is_addressed) == (True, False)
        assert asked.quote and asked.quote.text == "Rome or Paris?"
        assert chatter.quote and not chatter.quote.resolved


async def test_what_storage_refused_is_repeated_and_stored_once() -> None:
    async with site() as ours:
        ours.intake.faults = [OSError("the disk is full"), OSError("still")]
        ours.relay.says("ada", "hello")
        await until(lambda: ours.intake.messages)
        assert [message.text for message in ours.intake.messages.values()] == ["hello"]


async def test_events_that_somebody_else_signed_are_refused() -> None:
    async with site(secret="another") as ours:
        ours.relay.says("ada", "hello")
        await ours.clock.advance(1.0)
        assert not ours.intake.messages


async def test_an_answer_whose_acceptance_got_lost_is_found_and_not_repeated() -> None:
    async with site() as ours:
        ours.relay.says("ada", "hello")
        ours.relay.lose_answers = 1
        outbox = MemoryOutbox(ours.clock)
        entry = outbox.add(ADA, "Hello Ada", reply_to=ReplyTarget("1", is_latest=False))
        courier = Courier([ours.channel], outbox, "c", ours.clock)
        for _ in range(30):
            await courier.drain()
            await ours.clock.advance(2.0)
        assert outbox.states(entry) == ["sent"]
        answers = [one for one in ours.relay.shown("ada") if one["from"] == "roost"]
        assert [(one["text"], one["reply_to"]) for one in answers] == [("Hello Ada", "1")]


async def test_a_send_in_doubt_counts_as_absent_only_after_the_longest_request() -> None:
    async with site() as ours:
        message, now = Outgoing(ADA, HELLO, part_id="p"), ours.clock.time()
        assert await ours.channel.find_sent(message, since=now) == "unknown"
        long_ago = now - ABSENT_AFTER_S
        assert await ours.channel.find_sent(message, since=long_ago) == "absent"


async def test_every_way_to_fail_has_its_error() -> None:
    async with site() as ours:
        with pytest.raises(Unreachable):
            await ours.channel.send(Outgoing(ADA, HELLO))
        ours.relay.says("ada", "hello")
        ours.relay.lose_answers = 1
        with pytest.raises(Ambiguous):
            await ours.channel.send(Outgoing(ADA, HELLO))
        stranger = RelayChannel(config_of(ours.relay, key="wrong"))
        with pytest.raises(AuthBroken):
            await stranger.send(Outgoing(ADA, HELLO))
        await stranger.close()
        config = config_of(ours.relay)
    away = RelayChannel(config)
    with pytest.raises(NotSent):
        await away.send(Outgoing(ADA, HELLO))
    await away.close()
