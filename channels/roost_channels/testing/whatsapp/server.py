"""What FakeTwilio and FakeCloud share: people to play, and what can be asked of their phones."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, Protocol

from aiohttp import web

from roost_channels.testing.clock import Clock
from roost_channels.testing.fake import Fake
from roost_channels.testing.whatsapp.screen import Screen, SeenText
from roost_channels.testing.whatsapp.state import PREFIX, Core, MessageT, Person, StatusPlan
from roost_channels.testing.whatsapp.statuses import StatusEngine


class Part(Protocol):
    """Something that runs beside the server."""

    async def stop(self) -> None: ...


class Webhooks(Part, Protocol):
    """What calls the account's owner."""

    async def start(self) -> None: ...


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WhatsAppFake(Fake, Generic[MessageT]):
    """One account of a provider. Subclasses build the parts, and word what people do."""

    core: Core[Any, MessageT, Any]
    clock: Clock
    _webhooks: Webhooks
    _statuses: StatusEngine[MessageT]
    _people: Part
    _screen: Screen
    _on_call: Handler
    _on_sim: Handler

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        is_sim = request.path.startswith("/sim")
        return await (self._on_sim if is_sim else self._on_call)(request)

    async def _start_parts(self) -> None:
        self.core.base_url = self._server.base_url
        await self._webhooks.start()

    async def _stop_parts(self) -> None:
        await self._people.stop()
        await self._statuses.stop()
        await self._webhooks.stop()

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
    ) -> str:
        """A person writes, or sends a file with a caption; returns the message's id, with `wait`
        once the webhook was taken or given up.

        user: `whatsapp:+…` or a business-scoped id. media: (data, content type).
        file_name: of a document, which only some providers pass on.
        """
        raise NotImplementedError

    async def press(self, user: str, message_id: str, choice: str, *, wait: bool = True) -> str:
        """Choose a button or an item, by its id or title, under a message on the phone."""
        raise NotImplementedError

    def add_person(self, phone: str = "", *, user_id: str = "", name: str = "Ada") -> Person:
        """A person with a phone (`whatsapp:+…`), a business-scoped id, or both."""
        known = PREFIX + user_id.removeprefix(PREFIX) if user_id else ""
        return self.core.add(Person(phone, known, name))

    def block(self, user: str) -> None:
        """The person wants nothing of us any more."""
        self.core.person(user).has_blocked = True

    def close_window(self, user: str) -> None:
        """The 24 hours since this person last wrote are over."""
        self.core.person(user).window_until = float("-inf")

    def plan_next(self, *plans: StatusPlan) -> None:
        """How the next outbound messages fare, in the order in which they are accepted."""
        self.core.plans.extend(plans)

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

    def media_of(self, message_id: str) -> list[tuple[bytes, str]]:
        """The files of a message, (data, content type)."""
        found = [self.core.media[name] for name in self.core.messages[message_id].media]
        return [(media.data, media.content_type) for media in found]

    @property
    def messages(self) -> dict[str, MessageT]:
        """Every message by its id, whatever became of it."""
        return self.core.messages

    async def settled(self, timeout_s: float = 10.0) -> None:
        """Wait until every outbound message has reached its last state and told us."""
        await self.until(lambda: self._statuses.running == 0, timeout_s)
