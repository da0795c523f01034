"""FakeTwilio: Twilio's WhatsApp APIs on loopback, with people and their phones."""

from collections.abc import Sequence
from typing import Any

import httpx2
from aiohttp import web

from roost_channels.testing.clock import Clock, SystemClock
from roost_channels.testing.fake import Fake
from roost_channels.testing.loopback import LoopbackServer
from roost_channels.testing.twilio.content import create_content, decide
from roost_channels.testing.twilio.dispatch import Dispatcher
from roost_channels.testing.twilio.person import People, location_parameters
from roost_channels.testing.twilio.schema import complaints
from roost_channels.testing.twilio.screen import Screen, SeenText
from roost_channels.testing.twilio.sim import SimApi
from roost_channels.testing.twilio.state import (
    Core,
    PairLimit,
    Person,
    Settings,
    StatusPlan,
    TextMessage,
)
from roost_channels.testing.twilio.statuses import StatusEngine
from roost_channels.testing.twilio.webhooks import Attempt, WebhookCaller

DEFAULT_ACCOUNT = "AC" + "0" * 31 + "1"
DEFAULT_SENDER = "whatsapp:+15550001000"


class FakeTwilio(Fake):
    """`async with FakeTwilio(webhook_url=...) as twilio:` serves api, messaging and content paths.

    People act through `user_says`, `press`, `user_sends_location`; `visible` answers what a person
    sees now. Faults hit named calls (`messages.create`, `messages.list`, `messages.fetch`,
    `typing`, `content.create`, `media.fetch`), and webhooks on their way: `inbound`, `status`.
    """

    def __init__(
        self,
        account_sid: str = DEFAULT_ACCOUNT,
        auth_token: str = "test-auth-token",
        sender: str = DEFAULT_SENDER,
        *,
        webhook_url: str = "",
        fallback_url: str = "",
        status_callback: str = "",
        api_keys: dict[str, str] | None = None,
        shared_key: tuple[str, str] | None = None,
        pair_limit: PairLimit | None = None,
        status_plan: StatusPlan | None = None,
        clock: Clock | None = None,
        port: int = 0,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._transport = transport
        self.settings = Settings(
            account_sid,
            auth_token,
            sender,
            dict(api_keys or {}),
            webhook_url,
            fallback_url,
            status_callback,
            shared_key,
            pair_limit=pair_limit,
            status_plan=status_plan or StatusPlan(),
        )
        self.clock = clock or SystemClock()
        self._server = LoopbackServer(self._handle, port)
        self._build()

    def _build(self) -> None:
        self.core: Core = Core(self.settings, self.clock)
        self._webhooks = WebhookCaller(self.core, transport=self._transport)
        self._statuses = StatusEngine(self.core, self._webhooks)
        self._people = People(self.core, self._webhooks)
        self._screen = Screen(self.core)
        self._dispatcher = Dispatcher(self.core, self._statuses)
        self._sim = SimApi(self)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/sim"):
            return await self._sim.handle(request)
        return await self._dispatcher.handle(request)

    async def _start_parts(self) -> None:
        self.core.base_url = self._server.base_url
        await self._webhooks.start()

    async def _stop_parts(self) -> None:
        await self._people.stop()
        await self._statuses.stop()
        await self._webhooks.stop()

    @property
    def account_sid(self) -> str:
        return self.settings.account_sid

    @property
    def auth_token(self) -> str:
        return self.settings.auth_token

    @property
    def sender(self) -> str:
        return self.settings.sender

    # What people do

    async def user_says(
        self,
        user: str,
        text: str,
        *,
        reply_to_sid: str | None = None,
        profile_name: str = "",
        media: Sequence[tuple[bytes, str]] = (),
        extra: dict[str, str] | None = None,
        forwarded: bool = False,
        wait: bool = True,
    ) -> str:
        """A person writes; returns the SID, with `wait` once the webhook was taken or given up.

        user: `whatsapp:+…` or a business-scoped id. media: (data, content type). extra: further
        parameters of the webhook, such as those of a referral.
        """
        if forwarded:
            extra = {**(extra or {}), "Forwarded": "true"}
        message, parameters = self._people.write(
            user,
            text,
            reply_to_sid=reply_to_sid,
            profile_name=profile_name,
            media=media,
            extra=extra,
        )
        return await self._deliver(message, parameters, wait)

    async def _deliver(self, message: TextMessage, parameters: dict[str, str], wait: bool) -> str:
        delivery = self._people.start_delivery(parameters)
        if wait:
            await delivery
        return message.sid

    async def press(self, user: str, sid: str, choice: str, *, wait: bool = True) -> str:
        """Choose a quick reply or a list item, by its id or title, under a message on the phone."""
        shown = self.core.messages[sid]
        found = [(key, title) for key, title in shown.buttons if choice in (key, title)]
        if not found:
            raise ValueError(f"message {sid} offers no choice {choice!r}")
        key, title = found[0]
        names = ("ListId", "ListTitle") if shown.is_list else ("ButtonPayload", "ButtonText")
        message, parameters = self._people.write(
            user,
            title,
            reply_to_sid=sid,
            extra=dict(zip(names, (key, title), strict=True)),
            message_type="interactive",
        )
        return await self._deliver(message, parameters, wait)

    async def user_sends_location(
        self,
        user: str,
        latitude: float,
        longitude: float,
        *,
        address: str = "",
        label: str = "",
        wait: bool = True,
    ) -> str:
        extra = location_parameters(latitude, longitude, address, label)
        message, parameters = self._people.write(user, "", extra=extra, message_type="location")
        return await self._deliver(message, parameters, wait)

    async def user_sends(
        self,
        user: str,
        *media: tuple[bytes, str],
        caption: str = "",
        reply_to_sid: str | None = None,
        wait: bool = True,
    ) -> list[str]:
        """Photos, voice messages or files: one message each, as WhatsApp sends them, the caption
        with the first.
        """
        return [
            await self.user_says(
                user,
                "" if index else caption,
                reply_to_sid=reply_to_sid,
                media=[one],
                wait=wait,
            )
            for index, one in enumerate(media)
        ]

    def media_of(self, sid: str) -> list[tuple[bytes, str]]:
        """The media of a message, (data, content type), fetched from us where we sent it."""
        found = [self.core.media[name] for name in self.core.messages[sid].media_sids]
        return [(media.data, media.content_type) for media in found]

    def add_person(self, phone: str = "", *, bsuid: str = "", name: str = "Ada") -> Person:
        """A person with a phone, a business-scoped id, or both."""
        person = Person(phone, bsuid, name)
        self.core.people[person.address] = person
        return person

    def opt_out(self, user: str) -> None:
        self.core.person(user).opted_out = True

    def close_window(self, user: str) -> None:
        """The 24 hours since this person last wrote are over."""
        self.core.person(user).window_until = float("-inf")

    def plan_next(self, *plans: StatusPlan) -> None:
        """How the next outbound messages fare, in the order in which they are accepted."""
        self.core.plans.extend(plans)

    def add_content(self, body: dict[str, Any], *, approved: bool = False) -> str:
        """A content that exists already; an approved one may be sent outside the window."""
        sid = str(create_content(self.core, body)["sid"])
        if approved:
            decide(self.core, sid, "approved")
        return sid

    def approve_content(self, sid: str, status: str = "approved", reason: str = "") -> None:
        """WhatsApp's decision on a template that waits for one."""
        decide(self.core, sid, status, reason)

    # What can be asked

    def visible(self, user: str) -> list[SeenText]:
        """What the person sees now: own messages, and ours once they were delivered."""
        return self._screen.messages(user)

    def bot_texts(self, user: str) -> list[str]:
        return [m.body for m in self._screen.messages(user) if m.sender == "bot"]

    def typing(self, user: str) -> bool:
        return self._screen.typing(user)

    def screen_json(self, user: str) -> dict[str, Any]:
        return self._screen.to_json(user)

    @property
    def messages(self) -> dict[str, TextMessage]:
        """Every message by its SID, whatever became of it."""
        return self.core.messages

    @property
    def webhooks(self) -> list[Attempt]:
        """Every webhook tried, oldest first."""
        return list(self._webhooks.attempts)

    @property
    def complaints(self) -> list[str]:
        """What Twilio would have ignored in the calls so far: parameters that it does not know."""
        return [text for call in self.core.log.calls for text in complaints(call)]

    async def settled(self, timeout_s: float = 10.0) -> None:
        """Wait until every outbound message has reached its last state and told us."""
        await self.until(lambda: self._statuses.running == 0, timeout_s)
