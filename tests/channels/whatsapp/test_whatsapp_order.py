"""The order of messages to one person on WhatsApp, which neither provider keeps for us."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

import pytest
from aiohttp import web

from roost_channels.clock import Clock, SystemClock
from roost_channels.config import DeliveryConfig
from roost_channels.delivery.courier import Courier
from roost_channels.delivery.limits import Limiter
from roost_channels.message import Address
from roost_channels.outbox import StatusMessage
from roost_channels.testing import FakeCloud, FakeTwilio, StatusPlan, VirtualClock
from roost_channels.testing.memory.intake import MemoryIntake
from roost_channels.testing.memory.outbox import MemoryOutbox
from roost_channels.testing.memory.receipts import MemoryReceipts
from roost_channels.whatsapp.channel import WhatsAppChannel
from roost_channels.whatsapp.config import TwilioConfig
from roost_channels.whatsapp.gate import GAP_S, GATE_S
from roost_channels.whatsapp.inbound.webhook import TwilioWebhooks
from roost_channels.whatsapp_cloud.channel import WhatsAppCloudChannel
from roost_channels.whatsapp_cloud.config import WhatsAppCloudConfig
from roost_channels.whatsapp_cloud.inbound import CloudWebhooks

USER = "whatsapp:+15551112222"
QUICK = DeliveryConfig(retry_s=0.01, retry_max_s=0.02, poll_s=0.02, shutdown_s=0.0)
INSTANT = StatusPlan(0.0, 0.0, 0.0)
NEVER_TOLD = StatusPlan(sent_s=600.0, silent=True)

WhatsApp = WhatsAppChannel | WhatsAppCloudChannel


class Hurried(VirtualClock):
    """Sleeps take no real time."""

    async def sleep(self, seconds: float) -> None:
        self._now += seconds


@dataclass
class Post:
    """One account at one provider, with couriers that come and go over the same outbox."""

    fake: FakeTwilio | FakeCloud
    address: Address
    intake: MemoryIntake
    adapter: Callable[[MemoryReceipts, Clock], WhatsApp]
    clock: Clock = field(default_factory=SystemClock)
    opened: list[WhatsApp] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keeps(SystemClock())

    def keeps(self, clock: Clock) -> None:
        """A clock for all that follows."""
        self.clock = clock
        self.outbox = MemoryOutbox(clock)
        self.receipts = MemoryReceipts(self.outbox, self.intake)

    def courier(self) -> Courier:
        """A process that knows nothing but what is stored."""
        channel = self.adapter(self.receipts, self.clock)
        self.opened.append(channel)
        name = f"courier-{len(self.opened)}"
        return Courier(
            [channel], self.outbox, name, self.clock, QUICK, limiter=Limiter(chat_burst=50)
        )

    def queue(self, text: str, address: Address | None = None) -> str:
        return self.outbox.add(address or self.address, text).id

    def states(self, entry_id: str) -> list[str]:
        return [part.state for part in self.outbox.parts[entry_id]]


def twilio_config(twilio: FakeTwilio) -> TwilioConfig:
    return TwilioConfig.model_validate(
        {
            "account_sid": twilio.account_sid,
            "auth_token": twilio.auth_token,
            "from": twilio.sender,
            "api_base": twilio.base_url,
        }
    )


CLOUD = {
    "access_token": "test-access-token",
    "phone_number_id": "106540352242922",
    "app_secret": "test-app-secret",
    "verify_token": "open sesame",
}


@pytest.fixture(params=["twilio", "cloud"])
async def post(request: pytest.FixtureRequest) -> AsyncIterator[Post]:
    intake = MemoryIntake()
    hooks: list[TwilioWebhooks | CloudWebhooks] = []

    async def handle(request: web.Request) -> web.Response:
        body, headers = await request.read(), request.headers
        if isinstance(known := hooks[0], CloudWebhooks):
            reply = await known.receive(headers, body)
        else:
            answer = known.inbound if request.path.endswith("inbound") else known.status
            reply = await answer(request.path_qs, headers, body)
        return web.Response(status=reply.status, body=reply.body)

    app = web.Application()
    app.router.add_post("/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    url = f"{base}/hooks/twilio/inbound"
    if request.param == "twilio":
        async with FakeTwilio(webhook_url=url, status_plan=INSTANT) as twilio:
            config = twilio_config(twilio)
            hooks.append(TwilioWebhooks(config, base, intake))
            found = Post(
                twilio,
                Address("whatsapp", twilio.sender, USER),
                intake,
                lambda receipts, clock: WhatsAppChannel(
                    config, public_base_url=base, clock=clock, receipts=receipts
                ),
            )
            await twilio.user_says(USER, "hello")
            yield found
            for channel in found.opened:
                await channel.close()
    else:
        async with FakeCloud(webhook_url=f"{base}/hook", status_plan=INSTANT) as cloud:
            settings = WhatsAppCloudConfig.model_validate({**CLOUD, "api_base": cloud.base_url})
            hooks.append(CloudWebhooks(settings, intake))
            found = Post(
                cloud,
                Address("whatsapp", CLOUD["phone_number_id"], USER),
                intake,
                lambda receipts, clock: WhatsAppCloudChannel(
                    settings, clock=clock, receipts=receipts
                ),
            )
            await cloud.user_says(USER, "hello")
            yield found
            for channel in found.opened:
                await channel.close()
    for hook in hooks:
        if isinstance(hook, TwilioWebhooks):
            await hook.close()
    await runner.cleanup()


async def test_a_part_waits_until_the_one_before_it_is_sent(post: Post) -> None:
    post.fake.plan_next(StatusPlan(sent_s=0.6, delivered_s=0.0), INSTANT)
    courier = post.courier()
    post.queue("first")
    post.queue("second")
    await courier.drain()
    await post.fake.settled()
    assert post.fake.bot_texts(USER) == ["first", "second"]


async def test_a_courier_that_starts_again_waits_for_what_the_one_before_it_handed_over(
    post: Post,
) -> None:
    post.fake.plan_next(StatusPlan(sent_s=0.6, delivered_s=0.0), INSTANT)
    post.queue("first")
    before = post.courier()
    await before.drain()
    await before.close()
    post.queue("second")
    await post.courier().drain()
    await post.fake.settled()
    assert post.fake.bot_texts(USER) == ["first", "second"]


async def test_a_courier_that_dies_while_a_part_waits_leaves_nothing_in_doubt(post: Post) -> None:
    post.fake.plan_next(StatusPlan(sent_s=0.6, delivered_s=0.0), INSTANT)
    first = post.queue("first")
    dying = post.courier()
    await dying.drain()
    second = post.queue("second")
    post.receipts.asked = 0
    await dying.step()
    async with asyncio.timeout(10):
        while not post.receipts.asked:
            await asyncio.sleep(0.01)
    await dying.close()
    assert (post.states(first), post.states(second)) == (["sent"], ["planned"])
    after = post.courier()
    assert await post.outbox.recover("courier-2") == 0
    await after.drain()
    await post.fake.settled()
    assert post.fake.bot_texts(USER) == ["first", "second"]


async def test_a_receipt_that_never_comes_holds_the_next_part_up_for_a_while_only(
    post: Post,
) -> None:
    post.keeps(Hurried())
    post.fake.plan_next(NEVER_TOLD)
    post.queue("first")
    await post.courier().drain()
    began = post.clock.time()
    post.queue("second")
    await post.courier().drain()
    assert post.clock.time() - began == GATE_S


async def test_chats_do_not_hold_each_other_up(post: Post) -> None:
    post.keeps(Hurried())
    other = replace(post.address, chat="whatsapp:+15550002222")
    await post.fake.user_says(other.chat, "hello too")
    post.fake.plan_next(NEVER_TOLD)
    post.queue("first")
    await post.courier().drain()
    began = post.clock.time()
    post.queue("to somebody else", other)
    await post.courier().drain()
    assert post.clock.time() == began


async def test_an_answer_waits_for_the_words_that_said_the_work_goes_on(post: Post) -> None:
    clock = Hurried()
    post.keeps(clock)
    # Twilio knows how such a message stands; of Meta nothing tells, so a distance must do.
    post.fake.plan_next(NEVER_TOLD)
    channel = post.adapter(post.receipts, clock)
    post.opened.append(channel)
    post.queue("still working on it")
    await post.courier().drain()
    [part] = next(iter(post.outbox.parts.values()))
    del post.outbox.parts[part.outbox_id], post.outbox.entries[part.outbox_id]
    said = StatusMessage(
        "t1", post.address, part.message_id, "still working", "closed", clock.time()
    )
    await post.outbox.put_status_message(said)
    began = clock.time()
    await channel.in_order(post.address, "the answer")
    expected = GATE_S if isinstance(channel, WhatsAppChannel) else GAP_S
    assert clock.time() - began == expected
