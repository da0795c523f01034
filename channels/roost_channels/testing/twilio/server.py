"""FakeTwilio: Twilio's WhatsApp APIs on loopback, with users and their phones."""

from collections.abc import Sequence
from typing import Any

import httpx2
from pydantic import TypeAdapter

from roost_channels.testing.clock import Clock, SystemClock
from roost_channels.testing.loopback import LoopbackServer
from roost_channels.testing.twilio.content import create_content, set_approval
from roost_channels.testing.twilio.dispatch import TwilioDispatcher
from roost_channels.testing.twilio.schema import complaints
from roost_channels.testing.twilio.sim import TwilioSim
from roost_channels.testing.twilio.state import (
    TextMessage,
    TwilioCore,
    TwilioMedia,
    TwilioSettings,
)
from roost_channels.testing.twilio.statuses import TwilioStatuses
from roost_channels.testing.twilio.user_events import TwilioUserEvents
from roost_channels.testing.twilio.webhooks import TwilioWebhookClient
from roost_channels.testing.whatsapp.kept import KeptWhatsApp
from roost_channels.testing.whatsapp.screen import WhatsAppScreen
from roost_channels.testing.whatsapp.server import WhatsAppFake
from roost_channels.testing.whatsapp.state import PairLimit, StatusPlan

DEFAULT_ACCOUNT = "AC" + "0" * 31 + "1"
DEFAULT_SENDER = "whatsapp:+15550001000"


class FakeTwilio(WhatsAppFake[TextMessage]):
    """`async with FakeTwilio(webhook_url=...) as twilio:` serves api, messaging and content paths.

    `user_says`, `press` and `user_sends_location` act for a user; `visible` returns what the user
    sees. Faults strike named calls (`messages.create`, `messages.list`, `messages.fetch`,
    `typing`, `content.create`, `media.fetch`) and webhooks (`inbound`, `status`).
    """

    _webhooks: TwilioWebhookClient
    _user_events: TwilioUserEvents

    _kept = TypeAdapter(KeptWhatsApp[TextMessage, TwilioMedia])

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

    def _contents(self) -> dict[str, dict[str, Any]]:
        return self.core.contents

    def _build(self) -> None:
        self.core: TwilioCore = TwilioCore(self.clock, self.settings)
        self._webhooks = TwilioWebhookClient(self.core, transport=self._transport)
        self._statuses = TwilioStatuses(self.core, self._webhooks)
        self._user_events = TwilioUserEvents(self.core, self._webhooks)
        self._screen = WhatsAppScreen(self.core)
        self._on_call = TwilioDispatcher(self.core, self._statuses).handle
        self._on_sim = TwilioSim(self, self.core, self._user_events).handle

    @property
    def account_sid(self) -> str:
        """The account's SID."""
        return self.settings.account_sid

    @property
    def auth_token(self) -> str:
        """The account's secret, which also signs webhooks."""
        return self.settings.auth_token

    @property
    def sender(self) -> str:
        """The business's WhatsApp number, `whatsapp:+…`."""
        return self.settings.sender

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
        """As in WhatsAppFake. extra: more fields of the webhook, such as those of a referral."""
        if forwarded:
            extra = {**(extra or {}), "Forwarded": "true"}
        message, event = self._user_events.write(
            user,
            text,
            reply_to=reply_to,
            profile_name=profile_name,
            media=media,
            file_name=file_name,
            extra=extra,
        )
        return await self._deliver(message, event, wait)

    async def press(self, user: str, message_id: str, choice: str, *, wait: bool = True) -> str:
        """The user chooses a button or list item by its id or title; returns the message's id."""
        shown = self.core.messages[message_id]
        key, title = shown.find_choice(choice)
        names = ("ListId", "ListTitle") if shown.is_list else ("ButtonPayload", "ButtonText")
        message, event = self._user_events.write(
            user,
            title,
            reply_to=message_id,
            extra=dict(zip(names, (key, title), strict=True)),
            message_type="interactive",
        )
        return await self._deliver(message, event, wait)

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
        """The user sends a place, with its street address and name; returns the message's id."""
        message, event = self._user_events.write_location(user, latitude, longitude, address, label)
        return await self._deliver(message, event, wait)

    async def user_sends(
        self,
        user: str,
        *media: tuple[bytes, str],
        caption: str = "",
        reply_to: str = "",
        wait: bool = True,
    ) -> list[str]:
        """The user sends files, (data, content type); returns the messages' ids.

        WhatsApp sends a message for each file; the caption is with the first.
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
        """Add a content; an approved one may be sent outside the service window."""
        sid = str(create_content(self.core, body)["sid"])
        if approved:
            set_approval(self.core, sid, "approved")
        return sid

    def approve_content(self, sid: str, status: str = "approved", reason: str = "") -> None:
        """Decide on a template as WhatsApp does: approved, rejected, pending or paused."""
        set_approval(self.core, sid, status, reason)

    @property
    def complaints(self) -> list[str]:
        """The parameters in the calls so far that Twilio does not know and would ignore."""
        return [text for call in self.core.log.calls for text in complaints(call)]
