"""FakeCloud: Meta's WhatsApp Cloud API on loopback, with people and their phones."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from roost_channels.testing.clock import Clock, SystemClock
from roost_channels.testing.cloud.dispatch import CloudDispatcher
from roost_channels.testing.cloud.state import CloudCore, CloudMessage, CloudSettings
from roost_channels.testing.cloud.statuses import CloudStatuses
from roost_channels.testing.cloud.user_events import CloudPeople
from roost_channels.testing.cloud.webhooks import CloudAttempt, CloudCaller
from roost_channels.testing.loopback import LoopbackServer
from roost_channels.testing.whatsapp.screen import Screen
from roost_channels.testing.whatsapp.server import WhatsAppFake
from roost_channels.testing.whatsapp.sim import WhatsAppSim
from roost_channels.testing.whatsapp.state import PairLimit, StatusPlan

DEFAULT_NUMBER_ID = "106540352242922"
_FILE_TYPES = {"image": "image", "audio": "audio", "video": "video"}


class FakeCloud(WhatsAppFake[CloudMessage]):
    """`async with FakeCloud(webhook_url=...) as cloud:` serves one number's Graph API.

    People act through `user_says`, `press`, `reacts`, `edits`, `deletes`; `visible` answers what a
    person sees now. Faults hit named calls (`messages`, `number`, `media.upload`, `media.info`,
    `media.download`) and webhooks on their way: `inbound`, `status`.
    """

    _webhooks: CloudCaller
    _people: CloudPeople

    def __init__(
        self,
        phone_number_id: str = DEFAULT_NUMBER_ID,
        access_token: str = "test-access-token",
        app_secret: str = "test-app-secret",
        *,
        display_phone_number: str = "15550783881",
        webhook_url: str = "",
        templates: dict[str, str] | None = None,
        pair_limit: PairLimit | None = None,
        status_plan: StatusPlan | None = None,
        clock: Clock | None = None,
        port: int = 0,
    ) -> None:
        self.settings = CloudSettings(
            phone_number_id,
            display_phone_number,
            access_token,
            app_secret,
            dict(templates or {}),
            webhook_url=webhook_url,
            pair_limit=pair_limit,
            status_plan=status_plan or StatusPlan(),
        )
        self.clock = clock or SystemClock()
        self._server = LoopbackServer(self._handle, port)
        self._build()

    def _build(self) -> None:
        self.core: CloudCore = CloudCore(self.settings, self.clock)
        self._webhooks = CloudCaller(self.core)
        self._statuses = CloudStatuses(self.core, self._webhooks)
        self._people = CloudPeople(self.core, self._webhooks)
        self._screen = Screen(self.core)
        self._on_call = CloudDispatcher(self.core, self._statuses).handle
        self._on_sim = WhatsAppSim(self).handle

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
        if len(media) > 1:
            raise ValueError("a message carries one file")
        person = self.core.person(user)
        person.name = profile_name or person.name
        content: dict[str, Any] = {"type": "text", "text": {"body": text}}
        kept = [self.core.keep(*one, file_name) for one in media]
        for file in kept:
            kind = _FILE_TYPES.get(file.content_type.partition("/")[0], "document")
            told = {"id": file.id, "mime_type": file.content_type, "sha256": "c2hh"}
            if kind == "document" and file_name:
                told["filename"] = file_name
            content = {"type": kind, kind: told | ({"caption": text} if text else {})}
        return await self._act(
            user,
            content,
            body=text,
            reply_to=reply_to,
            forwarded=forwarded,
            media=[file.id for file in kept],
            wait=wait,
        )

    async def user_sends(self, user: str, content: dict[str, Any], *, wait: bool = True) -> str:
        """A message of any type: `type` and the object it names, as in Meta's payloads."""
        return await self._act(user, content, wait=wait)

    async def press(self, user: str, message_id: str, choice: str, *, wait: bool = True) -> str:
        shown = self.core.messages[message_id]
        key, title = shown.chosen(choice)
        kind = "list_reply" if shown.is_list else "button_reply"
        reply = {"type": kind, kind: {"id": key, "title": title}}
        content = {"type": "interactive", "interactive": reply}
        return await self._act(user, content, body=title, reply_to=message_id, wait=wait)

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
        media: Sequence[str] = (),
        wait: bool = True,
    ) -> str:
        message, value = self._people.write(
            user, content, body=body, reply_to=reply_to, forwarded=forwarded
        )
        message.media = list(media)
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

    @property
    def webhooks(self) -> list[CloudAttempt]:
        """Every webhook tried, oldest first."""
        return list(self._webhooks.attempts)
