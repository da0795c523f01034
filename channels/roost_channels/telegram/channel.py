"""Telegram as a Channel: the four verbs over one bot."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from roost_channels.capabilities import Capabilities
from roost_channels.channel import Outgoing
from roost_channels.clock import Clock, SystemClock
from roost_channels.config import AUTH_PROBE_S
from roost_channels.errors import (
    Ambiguous,
    DeliveryError,
    EditTargetMissing,
    NotModified,
    Rejected,
    RenderRejected,
)
from roost_channels.files import ChannelFiles
from roost_channels.intake import Intake
from roost_channels.kinds import ChatCommand
from roost_channels.message import Address, Attachment, Receipt
from roost_channels.rendering.parts import RenderedPart
from roost_channels.telegram import format as telegram_format
from roost_channels.telegram.bot_api import methods, types
from roost_channels.telegram.client import TelegramClient
from roost_channels.telegram.config import TelegramConfig
from roost_channels.telegram.forums import Forums, direct_topic
from roost_channels.telegram.inbound.polling import Poller
from roost_channels.telegram.inbound.updates import GENERAL_TOPIC
from roost_channels.telegram.media import ALBUM_MAX, ALBUMS, CAPTION_MAX, MediaSender
from roost_channels.telegram.registration import register_commands, register_webhook

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
    holds what answers carry; `commands` are shown in the bot's menu; `auth_probe_s` passes between
    tries while the token is refused.
    """

    name = "telegram"

    def __init__(
        self,
        config: TelegramConfig,
        *,
        public_base_url: str = "",
        clock: Clock | None = None,
        files: ChannelFiles | None = None,
        client: TelegramClient | None = None,
        commands: Sequence[ChatCommand] = (),
        auth_probe_s: float = AUTH_PROBE_S,
    ) -> None:
        self._config = config
        self._public_base_url = public_base_url
        self._clock = clock or SystemClock()
        self._client = client or TelegramClient(config, self._clock)
        self._commands = commands
        self._auth_probe_s = auth_probe_s
        self._media = MediaSender(self._client, files)
        self._acknowledging: set[asyncio.Task[None]] = set()
        self._forums = Forums()
        self.account = config.account
        rich, reaction = config.rich_messages, config.reaction
        self.capabilities = replace(CAPABILITIES, rich=rich, reaction=reaction)

    async def send(self, message: Outgoing) -> Receipt:
        """Send a message. A lost answer is Ambiguous: Telegram has no key to ask by."""
        part = message.part
        markup = {"reply_markup": telegram_format.asking(message)}
        shared = {**_shared(message), **markup}
        if part.media is not None:
            sent = await self._media.send(part, part.media, shared)
        elif part.rich:
            sent = await self._send_rich(part, shared)
        else:
            text = telegram_format.text(part)
            sent = await self._client.call(methods.SendMessage(**shared, **text))
        return _receipt(sent)

    async def _send_rich(self, part: RenderedPart, shared: dict[str, Any]) -> Any:
        """Send Markdown that Telegram lays out; refused, or with media, the plain form is sent."""
        if telegram_format.may_fetch(part.rich):
            raise RenderRejected("rich Markdown with media", code="rich", http_status=400)
        try:
            rich = types.InputRichMessage(markdown=part.rich)
            return await self._client.call(methods.SendRichMessage(**shared, rich_message=rich))
        except Rejected as error:
            raise RenderRejected(error.description, code="rich", http_status=400) from error

    async def send_album(self, messages: Sequence[Outgoing]) -> Sequence[Receipt]:
        """Send 2 to 10 files as one album."""
        parts = [message.part for message in messages]
        sent = await self._media.send_album(parts, _shared(messages[0]))
        return [_receipt(one) for one in sent]

    async def edit(self, message_id: str, message: Outgoing) -> None:
        """Replace the text and the buttons of a message; an edit without buttons removes them."""
        markup: Any = telegram_format.keyboard(message.buttons)
        text = {**_message(message.address, message_id), **telegram_format.text(message.part)}
        change = methods.EditMessageText(**text, reply_markup=markup)
        await self._client.call(change, repeatable=True)

    async def delete(self, address: Address, message_id: str) -> None:
        """Delete a message that may be gone; raises EditTargetMissing for one too old."""
        deletion = methods.DeleteMessage(**_message(address, message_id))
        try:
            await self._client.call(deletion, repeatable=True)
        except EditTargetMissing as error:
            if error.code != "gone":
                raise

    async def indicate(self, address: Address, *, inbound_message_id: str = "") -> None:
        """Show that the bot types, for five seconds; a channel's direct messages don't show it."""
        if direct_topic(address.thread) is not None:
            return
        thread = _thread(address)
        if thread is None and address.chat in self._forums:
            thread = int(GENERAL_TOPIC)
        await self._signal(
            methods.SendChatAction(
                chat_id=_chat_id(address), message_thread_id=thread, action="typing"
            )
        )

    async def react(self, address: Address, message_id: str) -> None:
        """Put the reaction of the settings under a message."""
        if not message_id.isdigit():
            return
        mark = types.ReactionTypeEmoji(emoji=self.capabilities.reaction)
        which = _message(address, message_id)
        await self._signal(methods.SetMessageReaction(**which, reaction=[mark]))

    def can_draft(self, address: Address) -> bool:
        """Return whether the chat is private (an id above zero): only those have drafts."""
        return address.chat.isdigit()

    async def draft(self, address: Address, number: int, part: RenderedPart) -> None:
        """Show a draft, which ends when a message is sent."""
        await self._signal(
            methods.SendMessageDraft(
                chat_id=int(address.chat),
                message_thread_id=_send_thread(address),
                draft_id=number,
                can_stop=True,
                **_draft(part),
            )
        )

    async def remove_lost_status(
        self, address: Address, *, after: str, before: str, known: Sequence[str]
    ) -> bool:
        """Find the message by asking ids between two others to drop their buttons, then delete it.

        A bot can't list its messages. Only one of our own messages with buttons accepts that
        edit, and only status messages have buttons.
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
        self, message: Outgoing, *, since: float
    ) -> Receipt | Literal["absent", "unknown"]:
        """Return `unknown`: a bot can't ask what it sent."""
        return "unknown"

    async def download(self, attachment: Attachment, bytes_max: int) -> bytes:
        """Fetch a file by its id."""
        return await self._client.download(attachment.provider_id, bytes_max)

    async def acknowledge(self, callback_id: str, text: str = "") -> None:
        """Answer a press; a failure is harmless."""
        answer = methods.AnswerCallbackQuery(**telegram_format.press_answer(callback_id, text))
        try:
            await self._signal(answer)
        except DeliveryError as error:
            # The button stops spinning by itself; what it asked for is stored already.
            logger.info("callback %s not answered: %s", callback_id, error)

    async def ingest(self, intake: Intake) -> None:
        """Poll for ever; in webhook mode register the webhook and return."""
        await register_commands(self._client, self._commands)
        if self._config.mode == "webhook":
            await register_webhook(
                self._client,
                self._config,
                self._public_base_url,
                intake,
                self._clock,
                self._auth_probe_s,
            )
            return
        poller = Poller(
            self._client,
            self._config,
            intake,
            self._clock,
            self._acknowledge_soon,
            self._auth_probe_s,
            self._forums,
        )
        await poller.run()

    async def close(self) -> None:
        """Cancel the answers to presses and release the connections."""
        for task in self._acknowledging:
            task.cancel()
        await asyncio.gather(*self._acknowledging, return_exceptions=True)
        await self._client.close()

    async def _signal(self, method: methods.TelegramMethod[Any]) -> None:
        """Make a call that may be repeated, with a short time limit: late, it is worth little."""
        await self._client.call(method, repeatable=True, timeout_s=SIGNAL_TIMEOUT_S)

    def _acknowledge_soon(self, callback_id: str, text: str) -> None:
        """Answer a press in a task of its own, so that the poller goes on. At most
        ACKNOWLEDGE_TASKS_MAX run; further presses get no answer.
        """
        if len(self._acknowledging) >= ACKNOWLEDGE_TASKS_MAX:
            return
        task = asyncio.create_task(self.acknowledge(callback_id, text))
        self._acknowledging.add(task)
        task.add_done_callback(self._acknowledging.discard)


def _shared(message: Outgoing) -> dict[str, Any]:
    """Return the parameters that every kind of send has."""
    return {
        "chat_id": _chat_id(message.address),
        "message_thread_id": _send_thread(message.address),
        "direct_messages_topic_id": direct_topic(message.address.thread),
        "reply_parameters": telegram_format.reply_parameters(message.reply_to),
        "disable_notification": message.silent or None,
    }


def _receipt(sent: Any) -> Receipt:
    message_id = getattr(sent, "message_id", None)
    if message_id is None:
        raise Ambiguous("accepted without a message id", code="decode")
    return Receipt(str(message_id))


def _draft(part: RenderedPart) -> dict[str, Any]:
    """Return a draft's text; drafts have no previews of links."""
    return {"text": part.text, "entities": telegram_format.entities(part)}


def _message(address: Address, message_id: str) -> dict[str, Any]:
    return {"chat_id": _chat_id(address), "message_id": int(message_id)}


def _chat_id(address: Address) -> int | str:
    return int(address.chat) if address.chat.lstrip("-").isdigit() else address.chat


def _thread(address: Address) -> int | None:
    return int(address.thread) if address.thread.isdigit() else None


def _send_thread(address: Address) -> int | None:
    """Return the topic to send to. Only typing accepts the id of the General topic."""
    thread = _thread(address)
    return None if address.thread == GENERAL_TOPIC else thread
