"""The base of FakeTwilio and FakeCloud: users to play, and questions about their phones."""

from collections.abc import Sequence
from typing import Any, Generic

from aiohttp import web
from pydantic import TypeAdapter

from roost_channels.testing.clock import Clock
from roost_channels.testing.fake import Fake
from roost_channels.testing.kept import check_version
from roost_channels.testing.loopback import Handler
from roost_channels.testing.whatsapp.kept import KeptWhatsApp, keep, unfinished
from roost_channels.testing.whatsapp.screen import SeenText, WhatsAppScreen
from roost_channels.testing.whatsapp.state import (
    ADDRESS_PREFIX,
    MessageT,
    StatusPlan,
    WhatsAppCore,
    WhatsAppUser,
)
from roost_channels.testing.whatsapp.statuses import StatusEngine
from roost_channels.testing.whatsapp.user_events import WhatsAppUserEvents
from roost_channels.testing.whatsapp.webhooks import WebhookAttempt, WebhookClient


class WhatsAppFake(Fake, Generic[MessageT]):
    """One account of a provider; subclasses build the parts and word the users' messages.

    `user` is always `whatsapp:+…` (a phone number) or `whatsapp:CC.…` (a business-scoped id).
    """

    core: WhatsAppCore[Any, MessageT, Any]
    clock: Clock
    _webhooks: WebhookClient[Any]
    _statuses: StatusEngine[MessageT]
    _user_events: WhatsAppUserEvents[MessageT]
    _screen: WhatsAppScreen
    _on_call: Handler
    _on_sim: Handler
    # How the provider's messages and files are written as JSON.
    _kept: TypeAdapter[KeptWhatsApp[Any, Any]]
    _unfinished: Sequence[MessageT] = ()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        is_sim = request.path.startswith("/sim")
        return await (self._on_sim if is_sim else self._on_call)(request)

    async def _start_parts(self) -> None:
        self.core.base_url = self._server.base_url
        await self._webhooks.start()
        kept, self._unfinished = self._unfinished, ()
        for message in kept:
            self._statuses.accept(message)

    def dump(self) -> bytes:
        """See `Lasting.dump`."""
        return self._kept.dump_json(keep(self.core, self._contents()))

    def load(self, kept_state: bytes) -> None:
        """See `Lasting.load`."""
        read = self._kept.validate_json(kept_state)
        check_version(read.version)
        self.core.users = {user.address: user for user in read.users}
        self.core.messages = {message.id: message for message in read.messages}
        self.core.media = {media.id: media for media in read.media}
        self._contents().update(read.contents)
        self._unfinished = unfinished(read.messages)

    def _contents(self) -> dict[str, dict[str, Any]]:
        """Twilio's Content resources; other providers have none."""
        return {}

    async def _stop_parts(self) -> None:
        await self._user_events.stop()
        await self._statuses.stop()
        await self._webhooks.stop()

    async def _deliver(self, message: MessageT, event: dict[str, Any], wait: bool) -> str:
        """Send a user's message to the webhook; returns the message's id.

        wait: return only after the webhook accepted it, or after the last retry.
        """
        delivery = self._user_events.start_delivery(event)
        if wait:
            await delivery
        return message.id

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
    ) -> str:
        """The user writes, or sends files with a caption; returns the message's id.

        media: (data, content type). file_name: the name of a document, for providers that pass
        it on. wait: return only after the webhook accepted the message, or after the last retry.
        """
        raise NotImplementedError

    async def press(self, user: str, message_id: str, choice: str, *, wait: bool = True) -> str:
        """The user chooses a button or list item by its id or title; returns the message's id."""
        raise NotImplementedError

    def add_user(self, phone: str = "", *, user_id: str = "", name: str = "Ada") -> WhatsAppUser:
        """Add a user with a phone (`whatsapp:+…`), a business-scoped id, or both."""
        prefixed_id = ADDRESS_PREFIX + user_id.removeprefix(ADDRESS_PREFIX) if user_id else ""
        return self.core.add_user(WhatsAppUser(phone, prefixed_id, name))

    def block(self, user: str) -> None:
        """The user blocks the business."""
        self.core.user(user).has_blocked = True

    def close_window(self, user: str) -> None:
        """End the 24 hours in which the business may send free text to the user."""
        self.core.user(user).window_until = float("-inf")

    def plan_next(self, *plans: StatusPlan) -> None:
        """Use these plans for the next outbound messages, in the order of their acceptance."""
        self.core.plans.extend(plans)

    def visible(self, user: str) -> list[SeenText]:
        """The messages on the user's phone: their own, and the business's once delivered."""
        return self._screen.messages(user)

    def bot_texts(self, user: str) -> list[str]:
        """The texts of the business's messages on the user's phone, oldest first."""
        return [m.body for m in self._screen.messages(user) if m.sender == "bot"]

    def typing(self, user: str) -> bool:
        """Whether the user's phone shows that the business is typing."""
        return self._screen.typing(user)

    def screen_json(self, user: str) -> dict[str, Any]:
        """The user's screen as the /sim API shows it."""
        return self._screen.to_json(user)

    def media_of(self, message_id: str) -> list[tuple[bytes, str]]:
        """The files of a message, (data, content type)."""
        files = [self.core.media[name] for name in self.core.messages[message_id].media]
        return [(media.data, media.content_type) for media in files]

    @property
    def messages(self) -> dict[str, MessageT]:
        """All messages by their ids, whatever their status."""
        return self.core.messages

    @property
    def webhooks(self) -> list[WebhookAttempt]:
        """All attempts to call a webhook, oldest first."""
        return list(self._webhooks.attempts)

    async def settled(self, timeout_s: float = 10.0) -> None:
        """Wait until every outbound message has reached and reported its last status."""
        await self.until(lambda: self._statuses.running == 0, timeout_s)
