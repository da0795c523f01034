"""The courier, the web part and the worker of a simulation: real code over simulated ports."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from aiohttp import web
from pydantic import SecretStr

from roost_channels.channel import Channel
from roost_channels.config import DeliveryConfig
from roost_channels.delivery.courier import Courier
from roost_channels.outbox import Receipts
from roost_channels.progress.renderer import ProgressRenderer
from roost_channels.telegram.channel import TelegramChannel
from roost_channels.telegram.client import TelegramClient
from roost_channels.telegram.config import TelegramConfig
from roost_channels.testing.inprocess import (
    ConnectFailed,
    ConnectionCut,
    LocalRequest,
    LocalTransport,
)
from roost_channels.testing.telegram import FakeTelegram
from roost_channels.testing.twilio import FakeTwilio
from roost_channels.webhook import WebhookReply
from roost_channels.whatsapp.channel import WhatsAppChannel
from roost_channels.whatsapp.client import TwilioClient
from roost_channels.whatsapp.config import TwilioConfig
from roost_channels.whatsapp.inbound.webhook import TwilioWebhooks
from roost_platform.approval_rules import ApprovalRules
from roost_platform.chaos.agents import REGISTRY
from roost_platform.chaos.sim.life import Life
from roost_platform.chaos.sim.loop import LoopClock
from roost_platform.chaos.sim.network import Network
from roost_platform.chaos.sim.plan import Plan
from roost_platform.chaos.sim.quiet_stores import QuietInbox, QuietOutbox
from roost_platform.chaos.sim.storage import MortalDatabase, World
from roost_platform.chaos.sim.temporal import SimDoorbell, SimTemporal, SimWorker
from roost_platform.commands import MENU
from roost_platform.db.people.access import OPEN
from roost_platform.db.stores import Stores, open_stores
from roost_platform.dueclock import DueClock, due_sources
from roost_platform.intake import PlatformIntake
from roost_platform.queueing import QueueRules
from roost_platform.sweeper import Sweeper
from roost_platform.wiring.ingesting import keep_ingesting

TOKEN = "42:SIMULATED"
WEB = "http://web"
TELEGRAM = TelegramConfig.model_validate({"token": TOKEN, "access": "open"})
TWILIO = TwilioConfig(
    account_sid="AC" + "0" * 31 + "1",
    auth_token=SecretStr("test-auth-token"),
    from_="whatsapp:+15550001000",
    access="open",
)
DELIVERY = DeliveryConfig(shutdown_s=0.0)
NO_ONE: frozenset[tuple[str, str]] = frozenset()
APPROVALS = ApprovalRules(
    expire_s=40.0, asks_a_day=1000, by_words=frozenset({("whatsapp", TWILIO.account)})
)


class Parts:
    """Starts processes over one world; each start makes a new life."""

    def __init__(
        self,
        plan: Plan,
        rng: random.Random,
        storage: World,
        network: Network,
        temporal: SimTemporal,
        telegram: FakeTelegram,
        twilio: FakeTwilio,
        crash: Callable[[Life], bool],
        ended: Callable[[Life], None],
    ) -> None:
        self._plan = plan
        self._rng = rng
        self._storage = storage
        self._network = network
        self._temporal = temporal
        self._telegram = telegram
        self._twilio = twilio
        self._crash = crash
        self._ended = ended
        self._clock = LoopClock()
        self._web: tuple[Life, TwilioWebhooks] | None = None
        self._started = 0
        self.registry = REGISTRY  # what the next worker has installed

    def start(self, part: str) -> Life:
        """A new process of that kind."""
        self._started += 1
        life = Life(part, self._crash, self._pause)
        stores = self._stores(life)
        begin = {"courier": self._courier, "worker": self._worker, "web": self._web_part}[
            part.split()[0]
        ]
        begin(life, stores)
        return life

    def _pause(self) -> float:
        return self._rng.choice((0.0, 0.0, 0.001, 0.02))

    def _stores(self, life: Life) -> Stores:
        database: MortalDatabase = self._storage.open(life)
        policies = {("telegram", TELEGRAM.account): OPEN, ("whatsapp", TWILIO.account): OPEN}
        rules = APPROVALS if self._plan.by_words else replace(APPROVALS, by_words=NO_ONE)
        stores = open_stores(
            database,
            policies=policies,
            delivery=DELIVERY,
            default_agent=REGISTRY.default,
            agents=REGISTRY.names,
            queueing=QueueRules(by_agent=REGISTRY.queues),
            approvals=rules,
        )
        commits = self._storage.commits
        return replace(
            stores,
            inbox=QuietInbox(
                *(database, policies, REGISTRY.default, stores.queueing),
                commits=commits,
                agents=REGISTRY.names,
                approvals=rules,
            ),
            outbox=QuietOutbox(database, commits),
        )

    def _doorbell(self, life: Life) -> SimDoorbell:
        return SimDoorbell(life, self._temporal, self._rng, self._plan.rings_lost)

    def _channels(self, life: Life, receipts: Receipts) -> list[Channel]:
        telegram = LocalTransport(self._network.to(self._telegram, life))
        twilio = LocalTransport(self._network.to(self._twilio, life))
        return [
            TelegramChannel(
                TELEGRAM,
                clock=self._clock,
                client=TelegramClient(TELEGRAM, self._clock, transport=telegram),
                commands=MENU,
            ),
            WhatsAppChannel(
                TWILIO,
                public_base_url=WEB,
                clock=self._clock,
                client=TwilioClient(TWILIO, transport=twilio),
                receipts=receipts,
            ),
        ]

    def _courier(self, life: Life, stores: Stores) -> None:
        doorbell = self._doorbell(life)
        intake = PlatformIntake(stores, doorbell)
        channels = self._channels(life, stores.receipts)
        courier = Courier(
            channels,
            stores.outbox,
            f"courier-{self._started}",
            self._clock,
            DELIVERY,
            report=intake.channel_state,
        )
        progress = ProgressRenderer(channels, courier.ledger)
        self._job(life, courier.run())
        self._job(life, progress.run())
        self._job(life, Sweeper(stores, doorbell).run())
        due = due_sources(stores.database)
        self._job(life, DueClock(stores.database, due, intake.ring).run())
        clock = self._clock
        for channel in channels:
            work = keep_ingesting(channel, intake, clock=clock, steady=clock.steady)
            self._job(life, work)

    def _job(self, life: Life, work: Coroutine[Any, Any, None]) -> None:
        """Run something that a process can't do without: its failure ends the process."""

        def over(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and task.exception() is not None and not life.is_dead:
                life.die()
                self._ended(life)

        life.spawn(work).add_done_callback(over)

    def _worker(self, life: Life, stores: Stores) -> None:
        # Rings for what the worker's transactions make ready, such as the task of a child.
        PlatformIntake(stores, self._doorbell(life))
        act = self._storage.effects.append
        worker = SimWorker(life, self._temporal, stores, self.registry, act)
        self._job(life, worker.run())

    def _web_part(self, life: Life, stores: Stores) -> None:
        transport = LocalTransport(self._network.to(self._twilio, life))
        intake = PlatformIntake(stores, self._doorbell(life))
        client = TwilioClient(TWILIO, transport=transport)
        self._web = life, TwilioWebhooks(TWILIO, WEB, intake, client=client, clock=self._clock)

    async def to_web(self, request: LocalRequest, timeout_s: float) -> web.Response:
        """Carry a webhook to the web process that runs now."""
        await asyncio.sleep(self._rng.choice((0.001, 0.05)))
        if self._web is None or self._web[0].is_dead:
            raise ConnectFailed("nobody listens")
        life, webhooks = self._web
        body = await request.read()
        call = webhooks.status if request.path.endswith("/status") else webhooks.inbound
        working = life.spawn(call(request.path_qs, request.headers, body))
        try:
            reply: WebhookReply = await asyncio.wait_for(working, timeout_s)
        except asyncio.CancelledError:
            if not life.is_dead:
                raise
            raise ConnectionCut from None
        return web.Response(status=reply.status, body=reply.body)
