"""FakeCloud: Meta's WhatsApp Cloud API on loopback, with users and their phones."""

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pydantic import TypeAdapter

from roost_channels.testing.clock import Clock, SystemClock
from roost_channels.testing.cloud.dispatch import CloudDispatcher
from roost_channels.testing.cloud.state import CloudCore, CloudMedia, CloudMessage, CloudSettings
from roost_channels.testing.cloud.statuses import CloudStatuses
from roost_channels.testing.cloud.user_events import CloudUserEvents
from roost_channels.testing.cloud.webhooks import CloudWebhookClient
from roost_channels.testing.kept import IDS_SKIPPED
from roost_channels.testing.loopback import LoopbackServer
from roost_channels.testing.whatsapp.kept import KeptWhatsApp
from roost_channels.testing.whatsapp.screen import WhatsAppScreen
from roost_channels.testing.whatsapp.server import WhatsAppFake
from roost_channels.testing.whatsapp.sim import WhatsAppSim
from roost_channels.testing.whatsapp.state import PairLimit, StatusPlan

DEFAULT_NUMBER_ID = "106540352242922"
_FILE_TYPES = {"image": "image", "audio": "audio", "video": "video"}


class FakeCloud(WhatsAppFake[CloudMessage]):
    """`async with FakeCloud(webhook_url=...) as cloud:` serves one number's Graph API.

    `user_says`, `press`, `reacts`, `edits` and `deletes` act for a user; `visible` returns what the
    user sees. Faults strike named calls (`messages`, `number`, `media.upload`, `media.info`,
    `media.download`) and webhooks (`inbound`, `status`).
    """

    _webhooks: CloudWebhookClient
    _user_events: CloudUserEvents

    _kept = TypeAdapter(KeptWhatsApp[CloudMessage, CloudMedia])

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
        self.core: CloudCore = CloudCore(self.clock, self.settings)
        self._webhooks = CloudWebhookClient(self.core)
        self._statuses = CloudStatuses(self.core, self._webhooks)
        self._user_events = CloudUserEvents(self.core, self._webhooks)
        self._screen = WhatsAppScreen(self.core)
        self._on_call = CloudDispatcher(self.core, self._statuses).handle
        self._on_sim = WhatsAppSim(self).handle

    def load(self, kept_state: bytes) -> None:
        """See `Lasting.load`."""
        super().load(kept_state)
        last = max((int(id) for id in self.core.media), default=0)
        self.core.media_ids = itertools.count(max(last + IDS_SKIPPED, next(self.core.media_ids)))

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
        """As in WhatsAppFake; ValueError for more than one file."""
        if len(media) > 1:
            raise ValueError("a message carries one file")
        sender = self.core.user(user)
        sender.name = profile_name or sender.name
        content: dict[str, Any] = {"type": "text", "text": {"body": text}}
        files = [self.core.add_file(*one, file_name) for one in media]
        for file in files:
            kind = _FILE_TYPES.get(file.content_type.partition("/")[0], "document")
            fields = {"id": file.id, "mime_type": file.content_type, "sha256": "c2hh"}
            if kind == "document" and file_name:
                fields["filename"] = file_name
            content = {"type": kind, kind: fields | ({"caption": text} if text else {})}
        return await self._send(
            user,
            content,
            body=text,
            reply_to=reply_to,
            forwarded=forwarded,
            media=[file.id for file in files],
            wait=wait,
        )

    async def user_sends(self, user: str, content: dict[str, Any], *, wait: bool = True) -> str:
        """The user sends a message of any type; returns its id.

        content: `type` and the object of that name, as in Meta's payloads.
        """
        return await self._send(user, content, wait=wait)

    async def press(self, user: str, message_id: str, choice: str, *, wait: bool = True) -> str:
        """The user chooses a button or list item by its id or title; returns the message's id."""
        shown = self.core.messages[message_id]
        key, title = shown.find_choice(choice)
        kind = "list_reply" if shown.is_list else "button_reply"
        reply = {"type": kind, kind: {"id": key, "title": title}}
        content = {"type": "interactive", "interactive": reply}
        return await self._send(user, content, body=title, reply_to=message_id, wait=wait)

    async def reacts(self, user: str, message_id: str, emoji: str) -> str:
        """The user sets a reaction; an empty `emoji` removes it. Returns the event's id."""
        self.core.messages[message_id].reactions[user] = emoji
        reaction = {"message_id": message_id, "emoji": emoji}
        return await self._send(user, {"type": "reaction", "reaction": reaction})

    async def edits(self, user: str, message_id: str, text: str) -> str:
        """The user edits a message; returns the event's id."""
        self.core.messages[message_id].body = text
        edit = {
            "original_message_id": message_id,
            "message": {"type": "text", "text": {"body": text}},
        }
        return await self._send(user, {"type": "edit", "edit": edit})

    async def deletes(self, user: str, message_id: str) -> str:
        """The user deletes a message for everyone; returns the event's id."""
        revoke = {"original_message_id": message_id}
        return await self._send(user, {"type": "revoke", "revoke": revoke})

    async def _send(
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
        message, event = self._user_events.write(
            user, content, body=body, reply_to=reply_to, forwarded=forwarded
        )
        message.media = list(media)
        return await self._deliver(message, event, wait)

    @asynccontextmanager
    async def batch(self) -> AsyncIterator[None]:
        """Collect what users do inside the block and send it as one webhook at the end."""
        self._user_events.batch = []
        yield
        await self._user_events.deliver_batch()
