"""Telegram as a Channel: the four verbs over one bot."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from roost_channels.channel import Capabilities
from roost_channels.clock import Clock, SystemClock
from roost_channels.config import TelegramConfig
from roost_channels.errors import (
    Ambiguous,
    DeliveryError,
    EditTargetMissing,
    NotModified,
    Rejected,
    RenderRejected,
)
from roost_channels.files import Files
from roost_channels.intake import Intake
from roost_channels.message import Address, Attachment, Button, Receipt, ReplyTarget
from roost_channels.rendering.parts import RenderedPart
from roost_channels.telegram import format as telegram_format
from roost_channels.telegram.bot_api import methods, types
from roost_channels.telegram.client import TelegramClient
from roost_channels.telegram.media import ALBUM_MAX, ALBUMS, CAPTION_MAX, MediaSender
from roost_channels.telegram.polling import Poller
from roost_channels.telegram.registration import register_commands, register_webhook
from roost_channels.telegram.updates import GENERAL_TOPIC

logger = logging.getLogger(__name__)

SIGNAL_TIMEOUT_S = 5
ACKNOWLEDGE_TASKS_MAX = 100
PROBES_MAX = 8  # ids asked for in search of one lost status message

CAPABILITIES = Capabilities(
    text_max=4096,
    text_unit="utf16",
    markup="entities",
    can_edit=True,
    can_delete=True,
    native_quote=True,
    buttons=True,
    typing_s=5.0,
    edit_interval_s=(1.5, 3.0),
    send_interval_s=1.0,
    media_bytes_max=50 * 1024 * 1024,
    photo_bytes_max=10 * 1024 * 1024,
    albums=ALBUMS,
    album_max=ALBUM_MAX,
    caption_max=CAPTION_MAX,
)


class TelegramChannel:
    """One bot. `public_base_url` is where Telegram reaches our webhook, in webhook mode; `files`
    holds what answers carry.
    """

    name = "telegram"

    def __init__(
        self,
        config: TelegramConfig,
        *,
        public_base_url: str = "",
        clock: Clock | None = None,
        files: Files | None = None,
        client: TelegramClient | None = None,
    ) -> None:
        self._config = config
        self._public_base_url = public_base_url
        self._clock = clock or SystemClock()
        self._client = client or TelegramClient(config, self._clock)
        self._media = MediaSender(self._client, files)
        self._acknowledging: set[asyncio.Task[None]] = set()
        self.account = config.account
        rich, reaction = config.rich_messages, config.reaction
        self.capabilities = replace(CAPABILITIES, rich=rich, reaction=reaction)

    async def send(
        self,
        address: Address,
        part: RenderedPart,
        *,
        reply_to: ReplyTarget | None = None,
        buttons: Sequence[Button] = (),
        silent: bool = False,
        part_id: str = "",
    ) -> Receipt:
        """Send a message. A lost answer is Ambiguous: Telegram has no key to ask by."""
        markup = {"reply_markup": telegram_format.keyboard(buttons)}
        shared = {**_shared(address, reply_to, silent), **markup}
        if part.media is not None:
            sent = await self._media.send(part, part.media, shared)
        elif part.rich:
            sent = await self._send_rich(part, shared)
        else:
            sent = await self._client.call(methods.SendMessage(**shared, **_text(part)))
        return _receipt(sent)

    async def _send_rich(self, part: RenderedPart, shared: dict[str, Any]) -> Any:
        """A refusal of any kind is one of the form: the plain one is tried next."""
        try:
            rich = types.InputRichMessage(markdown=part.rich)
            return await self._client.call(methods.SendRichMessage(**shared, rich_message=rich))
        except Rejected as error:
            raise RenderRejected(error.description, code="rich", http_status=400) from error

    async def send_album(
        self,
        address: Address,
        parts: Sequence[RenderedPart],
        *,
        reply_to: ReplyTarget | None = None,
        silent: bool = False,
    ) -> Sequence[Receipt]:
        sent = await self._media.send_album(parts, _shared(address, reply_to, silent))
        return [_receipt(message) for message in sent]

    async def edit(
        self,
        address: Address,
        message_id: str,
        part: RenderedPart,
        *,
        buttons: Sequence[Button] = (),
    ) -> None:
        markup: Any = telegram_format.keyboard(buttons)
        which = _message(address, message_id)
        change = methods.EditMessageText(**which, **_text(part), reply_markup=markup)
        await self._client.call(change, repeatable=True)

    async def delete(self, address: Address, message_id: str) -> None:
        """Raises EditTargetMissing for a message too old to be removed; gone already is success."""
        deletion = methods.DeleteMessage(**_message(address, message_id))
        try:
            await self._client.call(deletion, repeatable=True)
        except EditTargetMissing as error:
            if error.code != "gone":
                raise

    async def indicate(self, address: Address, *, inbound_message_id: str = "") -> None:
        await self._signal(
            methods.SendChatAction(
                chat_id=_chat_id(address), message_thread_id=_thread(address), action="typing"
            )
        )

    async def react(self, address: Address, message_id: str) -> None:
        if not message_id.isdigit():
            return
        mark = types.ReactionTypeEmoji(emoji=self.capabilities.reaction)
        which = _message(address, message_id)
        await self._signal(methods.SetMessageReaction(**which, reaction=[mark]))

    def can_draft(self, address: Address) -> bool:
        """Drafts are for private chats, whose ids are above zero."""
        return address.chat.isdigit()

    async def draft(self, address: Address, number: int, part: RenderedPart) -> None:
        await self._signal(
            methods.SendMessageDraft(
                chat_id=int(address.chat),
                message_thread_id=_send_thread(address),
                draft_id=number,
                can_stop=True,
                **_text(part),
            )
        )

    async def remove_lost_status(
        self, address: Address, *, after: str, before: str, known: Sequence[str]
    ) -> bool:
        """A bot can't list its messages, but it can ask of an id to lose its buttons: only one of
        ours that has some does, and only status messages have some.
        """
        if not (after.isdigit() and before.isdigit()):
            return False
        candidates = [str(n) for n in range(int(after) + 1, int(before))]
        for message_id in [one for one in candidates if one not in known][:PROBES_MAX]:
            bare = methods.EditMessageReplyMarkup(**_message(address, message_id))
            try:
                await self._client.call(bare, repeatable=True)
            except (NotModified, EditTargetMissing, Rejected):
                continue  # somebody else's, none at all, or one of ours without buttons
            await self.delete(address, message_id)
            return True
        return False

    async def find_sent(
        self, address: Address, part: RenderedPart, *, since: float, part_id: str
    ) -> Receipt | Literal["absent", "unknown"]:
        """The Bot API shows a bot nothing of what it sent."""
        return "unknown"

    async def download(self, attachment: Attachment, bytes_max: int) -> bytes:
        return await self._client.download(attachment.provider_id, bytes_max)

    async def acknowledge(self, callback_id: str, text: str = "") -> None:
        answer = methods.AnswerCallbackQuery(callback_query_id=callback_id, text=text or None)
        try:
            await self._signal(answer)
        except DeliveryError as error:
            # The button stops spinning by itself; what it asked for is stored already.
            logger.info("callback %s not answered: %s", callback_id, error)

    async def ingest(self, intake: Intake) -> None:
        """Poll for ever; in webhook mode register the webhook and return."""
        await register_commands(self._client)
        if self._config.mode == "webhook":
            await register_webhook(
                self._client, self._config, self._public_base_url, intake, self._clock
            )
            return
        poller = Poller(self._client, self._config, intake, self._clock, self._acknowledge_soon)
        await poller.run()

    async def close(self) -> None:
        for task in self._acknowledging:
            task.cancel()
        await asyncio.gather(*self._acknowledging, return_exceptions=True)
        await self._client.close()

    async def _signal(self, method: methods.TelegramMethod[Any]) -> None:
        """A call that may be made twice, and is worth little when it is late."""
        await self._client.call(method, repeatable=True, timeout_s=SIGNAL_TIMEOUT_S)

    def _acknowledge_soon(self, callback_id: str, text: str) -> None:
        """Answer beside the poller, which must not wait for it; a flood of presses is dropped."""
        if len(self._acknowledging) >= ACKNOWLEDGE_TASKS_MAX:
            return
        task = asyncio.create_task(self.acknowledge(callback_id, text))
        self._acknowledging.add(task)
        task.add_done_callback(self._acknowledging.discard)


def _shared(address: Address, reply_to: ReplyTarget | None, silent: bool) -> dict[str, Any]:
    """What every kind of send is told."""
    return {
        "chat_id": _chat_id(address),
        "message_thread_id": _send_thread(address),
        "reply_parameters": telegram_format.reply_parameters(reply_to),
        "disable_notification": silent or None,
    }


def _receipt(sent: Any) -> Receipt:
    message_id = getattr(sent, "message_id", None)
    if message_id is None:
        raise Ambiguous("accepted without a message id", code="decode")
    return Receipt(str(message_id))


def _text(part: RenderedPart) -> dict[str, Any]:
    return {"text": part.text, "entities": telegram_format.entities(part)}


def _message(address: Address, message_id: str) -> dict[str, Any]:
    return {"chat_id": _chat_id(address), "message_id": int(message_id)}


def _chat_id(address: Address) -> int | str:
    return int(address.chat) if address.chat.lstrip("-").isdigit() else address.chat


def _thread(address: Address) -> int | None:
    return int(address.thread) if address.thread.isdigit() else None


def _send_thread(address: Address) -> int | None:
    """The topic a message goes to. The General topic has an id that only typing accepts."""
    thread = _thread(address)
    return None if address.thread == GENERAL_TOPIC else thread
