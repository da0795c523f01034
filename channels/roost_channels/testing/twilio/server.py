"""FakeTwilio: Twilio's WhatsApp APIs on loopback, with people and their phones."""

from collections.abc import Sequence
from typing import Any

import httpx2

from roost_channels.testing.clock import Clock, SystemClock
from roost_channels.testing.loopback import LoopbackServer
from roost_channels.testing.twilio.content import create_content, decide
from roost_channels.testing.twilio.dispatch import TwilioDispatcher
from roost_channels.testing.twilio.schema import complaints
from roost_channels.testing.twilio.sim import TwilioSim
from roost_channels.testing.twilio.state import TextMessage, TwilioCore, TwilioSettings
from roost_channels.testing.twilio.statuses import Statuses
from roost_channels.testing.twilio.user_events import People, location_parameters
from roost_channels.testing.twilio.webhooks import Attempt, WebhookCaller
from roost_channels.testing.whatsapp.screen import Screen
from roost_channels.testing.whatsapp.server import WhatsAppFake
from roost_channels.testing.whatsapp.state import PairLimit, StatusPlan

DEFAULT_ACCOUNT = "AC" + "0" * 31 + "1"
DEFAULT_SENDER = "whatsapp:+15550001000"


class FakeTwilio(WhatsAppFake[TextMessage]):
    """`async with FakeTwilio(webhook_url=...) as twilio:` serves api, messaging and content paths.

    People act through `user_says`, `press`, `user_sends_location`; `visible` answers what a person
    sees now. Faults hit named calls (`messages.create`, `messages.list`, `messages.fetch`,
    `typing`, `content.create`, `media.fetch`), and webhooks on their way: `inbound`, `status`.
    """

    _webhooks: WebhookCaller
    _people: People

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
        self.settings = TwilioSettings(
            account_sid,
            auth_token,
            sender,
            dict(api_keys or {}),
            fallback_url,
            status_callback,
            shared_key,
            webhook_url=webhook_url,
            pair_limit=pair_limit,
            status_plan=status_plan or StatusPlan(),
        )
        self.clock = clock or SystemClock()
        self._server = LoopbackServer(self._handle, port)
        self._build()

    def _build(self) -> None:
        self.core: TwilioCore = TwilioCore(self.settings, self.clock)
        self._webhooks = WebhookCaller(self.core, transport=self._transport)
        self._statuses = Statuses(self.core, self._webhooks)
        self._people = People(self.core, self._webhooks)
        self._screen = Screen(self.core)
        self._on_call = TwilioDispatcher(self.core, self._statuses).handle
        self._on_sim = TwilioSim(self).handle

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
        reply_to: str = "",
        profile_name: str = "",
        media: Sequence[tuple[bytes, str]] = (),
        file_name: str = "",
        forwarded: bool = False,
        wait: bool = True,
        extra: dict[str, str] | None = None,
    ) -> str:
        """As said above. extra: further parameters of the webhook, such as those of a referral."""
        if forwarded:
            extra = {**(extra or {}), "Forwarded": "true"}
        message, parameters = self._people.write(
            user,
            text,
            reply_to=reply_to,
            profile_name=profile_name,
            media=media,
            file_name=file_name,
            extra=extra,
        )
        return await self._deliver(message, parameters, wait)

    async def _deliver(self, message: TextMessage, parameters: dict[str, str], wait: bool) -> str:
        delivery = self._people.start_delivery(parameters)
        if wait:
            await delivery
        return message.id

    async def press(self, user: str, message_id: str, choice: str, *, wait: bool = True) -> str:
        shown = self.core.messages[message_id]
        key, title = shown.chosen(choice)
        names = ("ListId", "ListTitle") if shown.is_list else ("ButtonPayload", "ButtonText")
        message, parameters = self._people.write(
            user,
            title,
            reply_to=message_id,
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
        reply_to: str = "",
        wait: bool = True,
    ) -> list[str]:
        """Photos, voice messages or files: one message each, as WhatsApp sends them, the caption
        with the first.
        """
        return [
            await self.user_says(
                user,
                "" if index else caption,
                reply_to=reply_to,
                media=[one],
                wait=wait,
            )
            for index, one in enumerate(media)
        ]

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

    @property
    def webhooks(self) -> list[Attempt]:
        """Every webhook tried, oldest first."""
        return list(self._webhooks.attempts)

    @property
    def complaints(self) -> list[str]:
        """What Twilio would have ignored in the calls so far: parameters that it does not know."""
        return [text for call in self.core.log.calls for text in complaints(call)]
