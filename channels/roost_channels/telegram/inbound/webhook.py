"""Telegram's webhook: the secret before the body, the commit before the 200."""

import hmac
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping

from roost_channels.http.bodies import parse_json
from roost_channels.intake import Intake
from roost_channels.telegram.client import TelegramClient
from roost_channels.telegram.config import TelegramConfig
from roost_channels.telegram.format import press_answer
from roost_channels.telegram.inbound import updates
from roost_channels.telegram.inbound.people import Json
from roost_channels.webhook import WebhookReply, lowered

logger = logging.getLogger(__name__)

SECRET_HEADER = "x-telegram-bot-api-secret-token"
BODY_BYTES_MAX = 1_048_576
_SECRET_SHAPE = re.compile(r"[A-Za-z0-9_-]{1,256}")


def checked_secret(config: TelegramConfig) -> str:
    """Return the secret; raises ValueError without one, or anybody could write to the inbox."""
    secret = config.webhook_secret.get_secret_value() if config.webhook_secret else ""
    if not _SECRET_SHAPE.fullmatch(secret):
        raise ValueError(
            "telegram.webhook_secret is needed in webhook mode:"
            " 1 to 256 characters of A-Z, a-z, 0-9, _ and -"
        )
    return secret


class TelegramWebhook:
    """Takes updates in at /hooks/telegram/{account}.

    identify: gives the bot's username, which mentions in groups are compared with; by default
    Telegram is asked when the first message of a group arrives.
    """

    def __init__(
        self,
        config: TelegramConfig,
        intake: Intake,
        *,
        identify: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        self._secret = checked_secret(config).encode()
        self._account = config.account
        self._intake = intake
        self._client = TelegramClient(config)
        self._identify = identify or self._client.username

    async def handle(self, headers: Mapping[str, str], body: bytes) -> WebhookReply:
        """Answer one request. Anything but 2xx makes Telegram deliver the update again."""
        secret = lowered(headers).get(SECRET_HEADER, "").encode()
        if not hmac.compare_digest(secret, self._secret):
            return WebhookReply(401, b"wrong secret token\n")
        if len(body) > BODY_BYTES_MAX:
            return WebhookReply(413, b"body too large\n")
        try:
            update = parse_json(body)
            update_id = update["update_id"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return WebhookReply(400, b"not an update\n")
        username = await self._username(update)
        message = updates.read(update, self._account, username)
        answers: Mapping[str, str] = {}
        if message is not None:
            try:
                accepted = await self._intake.accept("telegram", self._account, (message,))
                answers = accepted.answers
            except Exception:
                logger.exception("update %s was not stored; Telegram will repeat it", update_id)
                return WebhookReply(500, b"not stored\n")
        return self._answer(update, answers.get(str(update_id), ""))

    def _answer(self, update: Json, text: str) -> WebhookReply:
        """Build the response, which itself answers a pressed button: no further call can fail."""
        callback = update.get("callback_query")
        if not isinstance(callback, Mapping) or "id" not in callback:
            return WebhookReply(200)
        call = {"method": "answerCallbackQuery", **press_answer(callback["id"], text)}
        return WebhookReply(200, json.dumps(call).encode(), "application/json")

    async def _username(self, update: Json) -> str:
        message = update.get("message") or update.get("edited_message")
        chat = message.get("chat") if isinstance(message, Mapping) else None
        if not isinstance(chat, Mapping) or chat.get("type") == "private":
            return ""
        return await self._identify()

    async def close(self) -> None:
        """Release the connection that asked for our name."""
        await self._client.close()
