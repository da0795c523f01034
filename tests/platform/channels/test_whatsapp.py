"""WhatsApp from webhook to receipt: our webhooks, database and courier, by either provider."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from roost_channels.channel import Outgoing
from roost_channels.config import DeliveryConfig
from roost_channels.delivery.courier import Courier
from roost_channels.delivery.limits import Limiter
from roost_channels.message import Address, Button, Quote
from roost_channels.rendering.parts import RenderedPart
from roost_channels.testing import FakeCloud, FakeTwilio, StatusPlan
from roost_channels.whatsapp.channel import WhatsAppChannel
from roost_channels.whatsapp.config import TwilioConfig
from roost_channels.whatsapp.inbound.webhook import TwilioWebhooks
from roost_channels.whatsapp_cloud.channel import WhatsAppCloudChannel
from roost_channels.whatsapp_cloud.config import WhatsAppCloudConfig
from roost_channels.whatsapp_cloud.inbound import CloudWebhooks
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import Stores, open_stores
from roost_platform.intake import PlatformIntake
from roost_platform.testing.chats import DoorbellLog, Person

USER = "whatsapp:+15551112222"
READY = "Your result is ready, reply to view."
TEMPLATE = {"types": {"twilio/text": {"body": READY}}}
QUICK = DeliveryConfig(retry_s=0.01, retry_max_s=0.02, poll_s=0.02, reconcile_s=0.2)
INSTANT = StatusPlan(sent_s=0.0, delivered_s=0.0, read_s=0.0)
CLOUD = {
    "access_token": "test-access-token",
    "phone_number_id": "106540352242922",
    "app_secret": "test-app-secret",
    "verify_token": "open sesame",
    "window_template": "ready",
}

WhatsApp = WhatsAppChannel | WhatsAppCloudChannel
Webhooks = TwilioWebhooks | CloudWebhooks


class Office:
    """One account at one provider with everything behind it but the agent, whom the test plays."""

    def __init__(
        self,
        fake: FakeTwilio | FakeCloud,
        stores: Stores,
        account: str,
        base_url: str,
        config: TwilioConfig | WhatsAppCloudConfig,
    ) -> None:
        self.fake, self.stores, self.base_url, self.config = fake, stores, base_url, config
        bell = DoorbellLog()
        self.intake = PlatformIntake(stores, bell)
        self.person = Person(stores, self.intake, bell, Address("whatsapp", account, USER))
        self.opened: list[WhatsApp | Webhooks] = []
        self.hooks = self.webhooks(config)
        self.courier = self.new_courier()

    def webhooks(self, config: TwilioConfig | WhatsAppCloudConfig) -> Webhooks:
        if isinstance(config, WhatsAppCloudConfig):
            return CloudWebhooks(config, self.intake)
        hooks = TwilioWebhooks(config, self.base_url, self.intake)
        self.opened.append(hooks)
        return hooks

    async def receive(self, request: web.Request) -> web.Response:
        body, headers = await request.read(), request.headers
        if isinstance(self.hooks, CloudWebhooks):
            reply = await self.hooks.receive(headers, body)
        else:
            is_inbound = request.path.endswith("inbound")
            answer = self.hooks.inbound if is_inbound else self.hooks.status
            reply = await answer(request.path_qs, headers, body)
        return web.Response(status=reply.status, body=reply.body)

    def channel(self) -> WhatsApp:
        receipts, config = self.stores.receipts, self.config
        made: WhatsApp
        if isinstance(config, WhatsAppCloudConfig):
            made = WhatsAppCloudChannel(config, files=self.stores.artifacts, receipts=receipts)
        else:
            made = WhatsAppChannel(config, public_base_url=self.base_url, receipts=receipts)
        self.opened.append(made)
        return made

    def new_courier(self) -> Courier:
        """A process that knows nothing but what is stored."""
        name, channel = f"courier-{len(self.opened)}", self.channel()
        return Courier([channel], self.stores.outbox, name, config=QUICK, limiter=Limiter())

    async def answers(self, text: str) -> None:
        """The agent answers all that was said."""
        turn = await self.person.turn()
        await self.person.agent_says(turn, 1, text)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Run the courier until this is so."""
        async with asyncio.timeout(20):
            while not is_so():
                await self.courier.drain()
                await asyncio.sleep(0.01)

    async def delivers(self, *bodies: str) -> None:
        """Run the courier until the phone shows these texts of ours, in this order."""
        try:
            await self.until(lambda: tuple(self.fake.bot_texts(USER)) == bodies)
        except TimeoutError:
            assert tuple(self.fake.bot_texts(USER)) == bodies  # which shows them
            raise

    async def close(self) -> None:
        for one in self.opened:
            if not isinstance(one, CloudWebhooks):
                await one.close()
        await self.fake.settled()


@pytest.fixture(params=["twilio", "cloud"])
async def office(
    request: pytest.FixtureRequest, sqlite_url: str, tmp_path: Path
) -> AsyncIterator[Office]:
    app = web.Application()
    runner = web.AppRunner(app, access_log=None)
    found: list[Office] = []

    async def handle(request: web.Request) -> web.Response:
        return await found[0].receive(request)

    app.router.add_post("/{path:.*}", handle)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with made_by(request.param, base) as (fake, account, config):
        policies = {("whatsapp", account): AccessPolicy("open")}
        stores = open_stores(sqlite_url, policies=policies, files=tmp_path / "files")
        found.append(Office(fake, stores, account, base, config))
        yield found[0]
        await found[0].close()
    await runner.cleanup()
    await stores.close()


@contextlib.asynccontextmanager
async def made_by(
    provider: str, base: str
) -> AsyncIterator[tuple[FakeTwilio | FakeCloud, str, TwilioConfig | WhatsAppCloudConfig]]:
    """The provider's fake, the account there, and how we are set up for it."""
    if provider == "cloud":
        url, templates = f"{base}/hook", {"ready": READY}
        async with FakeCloud(webhook_url=url, status_plan=INSTANT, templates=templates) as cloud:
            given: dict[str, Any] = {**CLOUD, "api_base": cloud.base_url}
            yield cloud, CLOUD["phone_number_id"], WhatsAppCloudConfig.model_validate(given)
        return
    url = f"{base}/hooks/twilio/inbound"
    async with FakeTwilio(webhook_url=url, status_plan=INSTANT) as twilio:
        given = {
            "account_sid": twilio.account_sid,
            "auth_token": twilio.auth_token,
            "from": twilio.sender,
            "api_base": twilio.base_url,
            "window_template": twilio.add_content(TEMPLATE, approved=True),
        }
        yield twilio, twilio.sender, TwilioConfig.model_validate(given)


async def test_r21_an_answer_after_the_window_waits_behind_one_invitation_and_comes_on_return(
    office: Office,
) -> None:
    await office.fake.user_says(USER, "a long task, please")
    office.fake.close_window(USER)
    words = ["word"] * 1800
    await office.answers(" ".join(words))  # several parts, all refused after their acceptance
    await office.delivers(READY)
    await office.fake.settled()
    for _ in range(3):
        await office.courier.drain()
    await office.delivers(READY)  # and nothing else meanwhile
    await office.fake.user_says(USER, "show me")
    await office.until(lambda: " ".join(office.fake.bot_texts(USER)[1:]).split() == words)
    await office.fake.settled()
    refused = [m for m in office.fake.messages.values() if m.error_code in (63016, 131047)]
    assert refused and all(m.status == "failed" for m in refused)
    deliveries = [kind for kind, _ in await office.person.outbox()]
    assert deliveries == ["invitation", "answer"]


async def test_without_a_template_the_answer_waits_in_silence(office: Office) -> None:
    office.hooks = office.webhooks(office.config.model_copy(update={"window_template": None}))
    await office.fake.user_says(USER, "hello")
    office.fake.close_window(USER)
    await office.answers("the answer")
    await office.until(lambda: any(m.error_code for m in office.fake.messages.values()))
    await office.fake.settled()
    await office.courier.drain()
    assert office.fake.bot_texts(USER) == []
    await office.fake.user_says(USER, "hello?")
    await office.delivers("the answer")


@pytest.mark.parametrize("office", ["twilio"], indirect=True)
async def test_r20_receipts_late_doubled_and_backwards_change_nothing_that_is_known(
    office: Office,
) -> None:
    assert isinstance(office.fake, FakeTwilio)
    await office.fake.user_says(USER, "hello")
    office.fake.plan_next(StatusPlan(0.0, 0.0, 0.0, doubled=True, shuffled=True))
    await office.answers("the answer")
    await office.delivers("the answer")
    await office.fake.settled()
    statuses = [a.parameters["MessageStatus"] for a in office.fake.webhooks[1:]]
    assert statuses == ["read", "read", "delivered", "delivered", "sent", "sent"]
    sid = next(m.id for m in office.fake.messages.values() if not m.inbound)
    quote = await office.intake.resolve_quote("whatsapp", office.fake.sender, USER, sid)
    assert quote == Quote(sid, "bot", "the answer", "the answer", 0)


async def test_r2_an_answer_whose_response_was_lost_is_proven_and_not_repeated(
    office: Office,
) -> None:
    await office.fake.user_says(USER, "hello")
    is_twilio = isinstance(office.fake, FakeTwilio)
    office.fake.fault("drop_after", "messages.create" if is_twilio else "messages")
    await office.answers("the answer")
    await office.until(lambda: office.fake.bot_texts(USER) != [])
    await office.fake.settled()  # the receipt, or the list, tells that it went out
    await office.person.says("and then?")
    await office.answers("the next answer")
    await office.delivers("the answer", "the next answer")


async def test_a_file_that_is_refused_after_its_acceptance_is_named_in_words(
    office: Office,
) -> None:
    await office.fake.user_says(USER, "draw me a map")
    # Twilio says so when it fetched the file, Meta when it looked at what was uploaded.
    code = 63019 if isinstance(office.fake, FakeTwilio) else 131053
    office.fake.plan_next(INSTANT, StatusPlan(0.0, 0.0, 0.0, error_code=code))
    turn, files = await office.person.turn(), office.stores.artifacts
    made = await files.add(
        turn.turn_id, "k", b"data", kind="", name="map.png", mime_type="image/png"
    )
    await files.attach(turn.turn_id, made.id)
    await office.person.agent_says(turn, 1, "Here it is.")
    await office.delivers("Here it is.", "[file: map.png, could not be sent]")


async def test_a_courier_that_starts_again_keeps_the_order_of_answers(office: Office) -> None:
    office.fake.plan_next(StatusPlan(sent_s=0.8))
    await office.fake.user_says(USER, "hello")
    await office.answers("first")
    await office.courier.drain()
    await office.courier.close()
    await office.fake.user_says(USER, "and then?")
    await office.answers("second")
    office.courier = office.new_courier()
    await office.delivers("first", "second")


async def test_a_stop_pressed_after_its_turn_is_over_is_answered_in_the_chat(
    office: Office,
) -> None:
    await office.fake.user_says(USER, "a long task, please")
    await office.person.turn()
    over = await office.person.stop_button()
    working, buttons = RenderedPart("Working."), [Button("Stop", over)]
    sent = await office.channel().send(Outgoing(office.person.address, working, buttons=buttons))
    await office.answers("done")
    await office.delivers("Working.", "done")
    await office.fake.press(USER, sent.message_id, over)
    await office.delivers("Working.", "done", "That is over already.")
