"""FakeCloud: Meta's WhatsApp Cloud API on loopback, with people and their phones."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from roost_channels.testing.clock import Clock, SystemClock
from roost_channels.testing.cloud.dispatch import CloudDispatcher
from roost_channels.testing.cloud.person import CloudPeople
from roost_channels.testing.cloud.screen import CloudScreen, SeenNote
from roost_channels.testing.cloud.sim import CloudSim
from roost_channels.testing.cloud.state import (
    CloudCore,
    CloudMessage,
    CloudPerson,
    CloudPlan,
    CloudSettings,
)
from roost_channels.testing.cloud.statuses import CloudStatuses
from roost_channels.testing.cloud.webhooks import CloudAttempt, CloudCaller
from roost_channels.testing.fake import Fake
from roost_channels.testing.loopback import LoopbackServer

_FILE_TYPES = {"image": "image", "audio": "audio", "video": "video"}


class FakeCloud(Fake):
    """`async with FakeCloud(webhook_url=...) as cloud:` serves one number's Graph API.

    People act through `user_says`, `press`, `reacts`, `edits`, `deletes`; `visible` answers what a
    person sees now. Faults hit named calls (`messages`, `number`, `media.upload`, `media.info`,
    `media.download`) and webhooks on their way: `inbound`, `status`.
    """

    def __init__(
        self,
        phone_number_id: str = "106540352242922",
        access_token: str = "test-access-token",
        app_secret: str = "test-app-secret",
        *,
        display_phone_number: str = "15550783881",
        webhook_url: str = "",
        templates: dict[str, str] | None = None,
        pair_limit: tuple[int, float] | None = None,
        plan: CloudPlan | None = None,
        clock: Clock | None = None,
        port: int = 0,
    ) -> None:
        self.settings = CloudSettings(
            phone_number_id,
            display_phone_number,
            access_token,
            app_secret,
            webhook_url,
            dict(templates or {}),
            pair_limit=pair_limit,
            plan=plan or CloudPlan(),
        )
        self.clock = clock or SystemClock()
        self._server = LoopbackServer(self._handle, port)
        self._build()

    def _build(self) -> None:
        self.core: CloudCore = CloudCore(self.settings, self.clock)
        self._webhooks = CloudCaller(self.core)
        self._statuses = CloudStatuses(self.core, self._webhooks)
        self._people = CloudPeople(self.core, self._webhooks)
        self._screen = CloudScreen(self.core)
        self._dispatcher = CloudDispatcher(self.core, self._statuses)
        self._sim = CloudSim(self)

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

    # What people do

    async def user_says(
        self,
        user: str,
        text: str,
        *,
        reply_to: str = "",
        profile_name: str = "",
        media: tuple[bytes, str] | None = None,
        forwarded: bool = False,
        wait: bool = True,
    ) -> str:
        """A person writes, or sends a file with a caption; returns the message's id."""
        person = self.core.person(user)
        person.name = profile_name or person.name
        content: dict[str, Any] = {"type": "text", "text": {"body": text}}
        if media is not None:
            kept = self.core.keep(*media)
            kind = _FILE_TYPES.get(kept.mime_type.partition("/")[0], "document")
            file = {"id": kept.id, "mime_type": kept.mime_type, "sha256": "c2hh"}
            content = {"type": kind, kind: file | ({"caption": text} if text else {})}
        return await self._act(
            user, content, body=text, reply_to=reply_to, forwarded=forwarded, wait=wait
        )

    async def user_sends(self, user: str, content: dict[str, Any], *, wait: bool = True) -> str:
        """A message of any type: `type` and the object it names, as in Meta's payloads."""
        return await self._act(user, content, wait=wait)

    async def press(self, user: str, message_id: str, choice: str, *, wait: bool = True) -> str:
        """Choose a button or a list row, by its id or title, under a message on the phone."""
        shown = self.core.messages[message_id]
        found = [(key, title) for key, title in shown.buttons if choice in (key, title)]
        if not found:
            raise ValueError(f"message {message_id} offers no choice {choice!r}")
        reply = {"id": found[0][0], "title": found[0][1]}
        kind = "list_reply" if shown.is_list else "button_reply"
        content = {"type": "interactive", "interactive": {"type": kind, kind: reply}}
        return await self._act(user, content, body=reply["title"], reply_to=message_id, wait=wait)

    async def reacts(self, user: str, message_id: str, emoji: str) -> str:
        self.core.messages[message_id].reactions[user] = emoji
        reaction = {"message_id": message_id, "emoji": emoji}
        return await self._act(user, {"type": "reaction", "reaction": reaction})

    async def edits(self, user: str, message_id: str, text: str) -> str:
        self.core.messages[message_id].body = text
        edit = {
            "original_message_id": message_id,
            "message": {"type": "text", "text": {"body": text}},
        }
        return await self._act(user, {"type": "edit", "edit": edit})

    async def deletes(self, user: str, message_id: str) -> str:
        revoke = {"original_message_id": message_id}
        return await self._act(user, {"type": "revoke", "revoke": revoke})

    async def _act(
        self,
        user: str,
        content: dict[str, Any],
        *,
        body: str = "",
        reply_to: str = "",
        forwarded: bool = False,
        wait: bool = True,
    ) -> str:
        message, value = self._people.write(
            user, content, body=body, reply_to=reply_to, forwarded=forwarded
        )
        delivery = self._people.start_delivery(value)
        if wait:
            await delivery
        return message.id

    @asynccontextmanager
    async def batch(self) -> AsyncIterator[None]:
        """What people do inside comes as one webhook, at the end."""
        self._people.held = []
        yield
        values, self._people.held = self._people.held, None
        await self._people.start_delivery(*values)

    def add_person(self, phone: str = "", *, user_id: str = "", name: str = "Ada") -> CloudPerson:
        """A person with a phone (`whatsapp:+…`), a business-scoped id, or both."""
        wa_id = phone.removeprefix("whatsapp:").removeprefix("+")
        person = CloudPerson(wa_id, user_id, name)
        self.core.people[wa_id or user_id] = person
        return person

    def close_window(self, user: str) -> None:
        """The 24 hours since this person last wrote are over."""
        self.core.person(user).window_until = float("-inf")

    def plan_next(self, *plans: CloudPlan) -> None:
        """How the next outbound messages fare, in the order in which they are accepted."""
        self.core.plans.extend(plans)

    # What can be asked

    def visible(self, user: str) -> list[SeenNote]:
        """What the person sees now: own messages, and ours once they were delivered."""
        return self._screen.messages(user)

    def bot_texts(self, user: str) -> list[str]:
        return [m.body for m in self._screen.messages(user) if m.sender == "bot"]

    def typing(self, user: str) -> bool:
        return self._screen.typing(user)

    def screen_json(self, user: str) -> dict[str, Any]:
        return self._screen.to_json(user)

    @property
    def messages(self) -> dict[str, CloudMessage]:
        return self.core.messages

    @property
    def webhooks(self) -> list[CloudAttempt]:
        """Every webhook tried, oldest first."""
        return list(self._webhooks.attempts)

    async def settled(self, timeout_s: float = 10.0) -> None:
        """Wait until every outbound message has reached its last state and told us."""
        await self.until(lambda: self._statuses.running == 0, timeout_s)
