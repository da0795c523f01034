"""WhatsApp from webhook to receipt: our webhooks, database and courier against Twilio's fake."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from aiohttp import web

from roost_channels.config import DeliveryConfig, TwilioConfig
from roost_channels.delivery import Courier
from roost_channels.limits import Limiter
from roost_channels.message import Address, Button, Quote
from roost_channels.rendering import RenderedPart
from roost_channels.testing import FakeTwilio, StatusPlan
from roost_channels.whatsapp.channel import WhatsAppChannel
from roost_channels.whatsapp.inbound import TwilioWebhooks
from roost_platform.db.access import AccessPolicy
from roost_platform.db.stores import Stores, open_stores
from roost_platform.db.testing import DoorbellLog, Person
from roost_platform.intake import PlatformIntake

USER = "whatsapp:+15551112222"
TEMPLATE = {"types": {"twilio/text": {"body": "Your result is ready, reply to view."}}}
QUICK = DeliveryConfig(retry_s=0.01, retry_max_s=0.02, poll_s=0.02)
INSTANT = StatusPlan(sent_s=0.0, delivered_s=0.0, read_s=0.0)


@dataclass
class Office:
    """One WhatsApp sender with everything behind it but the agent, whom the test plays."""

    stores: Stores
    intake: PlatformIntake
    twilio: FakeTwilio
    config: TwilioConfig
    base_url: str
    person: Person
    webhooks: TwilioWebhooks
    courier: Courier

    async def answers(self, text: str) -> None:
        """The agent answers all that was said."""
        turn = await self.person.turn()
        await self.person.agent_says(turn, 1, text)

    async def delivers(self, *bodies: str) -> None:
        """Run the courier until the phone shows these texts of ours, in this order."""
        async with asyncio.timeout(20):
            while tuple(self.twilio.bot_texts(USER)) != bodies:
                await self.courier.drain()
                await asyncio.sleep(0.01)


@pytest.fixture
async def office(sqlite_url: str) -> AsyncIterator[Office]:
    app = web.Application()
    runner = web.AppRunner(app, access_log=None)
    found: list[Office] = []

    async def handle(request: web.Request) -> web.Response:
        hooks = found[0].webhooks
        answer = hooks.inbound if request.path.endswith("inbound") else hooks.status
        reply = await answer(request.path_qs, request.headers, await request.read())
        return web.Response(status=reply.status, body=reply.body)

    app.router.add_post("/hooks/twilio/{which}", handle)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    url = f"{base}/hooks/twilio/inbound"
    async with FakeTwilio(webhook_url=url, status_plan=INSTANT) as twilio:
        config = TwilioConfig.model_validate(
            {
                "account_sid": twilio.account_sid,
                "auth_token": twilio.auth_token,
                "from": twilio.sender,
                "api_base": twilio.base_url,
                "window_template": twilio.add_content(TEMPLATE, approved=True),
            }
        )
        policies = {("whatsapp", twilio.sender): AccessPolicy("open")}
        stores = open_stores(sqlite_url, policies=policies)
        bell = DoorbellLog()
        intake = PlatformIntake(stores, bell)
        channel = WhatsAppChannel(config, public_base_url=base, receipts=stores.receipts)
        person = Person(stores, intake, bell, Address("whatsapp", twilio.sender, USER))
        made = Office(
            stores,
            intake,
            twilio,
            config,
            base,
            person,
            TwilioWebhooks(config, base, intake),
            Courier([channel], stores.outbox, "c", config=QUICK, limiter=Limiter()),
        )
        found.append(made)
        yield made
        await channel.close()
        await made.webhooks.close()
        await twilio.settled()
    await runner.cleanup()
    await stores.close()


async def test_r21_an_answer_after_the_window_waits_behind_one_invitation_and_comes_on_return(
    office: Office,
) -> None:
    await office.twilio.user_says(USER, "a long task, please")
    office.twilio.close_window(USER)
    await office.answers("word " * 600)  # two parts, both refused after their acceptance
    await office.delivers("Your result is ready, reply to view.")
    await office.twilio.settled()
    for _ in range(3):
        await office.courier.drain()
    await office.delivers("Your result is ready, reply to view.")  # and nothing else meanwhile
    await office.twilio.user_says(USER, "show me")
    async with asyncio.timeout(20):
        while len(office.twilio.bot_texts(USER)) < 3:
            await office.courier.drain()
            await asyncio.sleep(0.01)
    _, *parts = office.twilio.bot_texts(USER)
    assert " ".join(parts).split() == ["word"] * 600
    await office.twilio.settled()
    refused = [m for m in office.twilio.messages.values() if m.error_code == 63016]
    assert refused and all(m.status == "failed" for m in refused)
    deliveries = [kind for kind, _ in await office.person.outbox()]
    assert deliveries == ["invitation", "answer"]


async def test_without_a_template_the_answer_waits_in_silence(office: Office) -> None:
    plain = office.config.model_copy(update={"window_template": None})
    office.webhooks = TwilioWebhooks(plain, office.base_url, office.intake)
    await office.twilio.user_says(USER, "hello")
    office.twilio.close_window(USER)
    await office.answers("the answer")
    async with asyncio.timeout(20):
        while not any(m.error_code for m in office.twilio.messages.values()):
            await office.courier.drain()
            await asyncio.sleep(0.01)
    await office.twilio.settled()
    await office.courier.drain()
    assert office.twilio.bot_texts(USER) == []
    await office.twilio.user_says(USER, "hello?")
    await office.delivers("the answer")


async def test_r20_receipts_late_doubled_and_backwards_change_nothing_that_is_known(
    office: Office,
) -> None:
    await office.twilio.user_says(USER, "hello")
    office.twilio.plan_next(StatusPlan(0.0, 0.0, 0.0, doubled=True, shuffled=True))
    await office.answers("the answer")
    await office.delivers("the answer")
    await office.twilio.settled()
    statuses = [a.parameters["MessageStatus"] for a in office.twilio.webhooks[1:]]
    assert statuses == ["read", "read", "delivered", "delivered", "sent", "sent"]
    sid = next(m.id for m in office.twilio.messages.values() if not m.inbound)
    quote = await office.intake.resolve_quote("whatsapp", office.twilio.sender, USER, sid)
    assert quote == Quote(sid, "bot", "the answer", "the answer", 0)


async def test_a_courier_that_starts_again_keeps_the_order_of_answers(office: Office) -> None:
    office.twilio.plan_next(StatusPlan(sent_s=0.8))
    await office.twilio.user_says(USER, "hello")
    await office.answers("first")
    await office.courier.drain()
    await office.courier.close()
    await office.twilio.user_says(USER, "and then?")
    await office.answers("second")
    channel = WhatsAppChannel(
        office.config, public_base_url=office.base_url, receipts=office.stores.receipts
    )
    outbox = office.stores.outbox
    office.courier = Courier([channel], outbox, "c2", config=QUICK, limiter=Limiter())
    await office.delivers("first", "second")
    await channel.close()


async def test_a_stop_pressed_after_its_turn_is_over_is_answered_in_the_chat(
    office: Office,
) -> None:
    await office.twilio.user_says(USER, "a long task, please")
    await office.person.turn()
    over = await office.person.stop_button()
    channel = WhatsAppChannel(office.config, public_base_url=office.base_url)
    buttons = [Button("Stop", over)]
    sent = await channel.send(office.person.address, RenderedPart("Working."), buttons=buttons)
    await office.answers("done")
    await office.delivers("Working.", "done")
    await office.twilio.press(USER, sent.message_id, over)
    await office.delivers("Working.", "done", "That is over already.")
    await channel.close()
