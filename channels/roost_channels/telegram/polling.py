"""Telegram's updates pulled in: commit first, and only then let the next poll acknowledge."""

import logging
from collections.abc import Callable
from typing import Any

from roost_channels.clock import Clock
from roost_channels.config import TelegramConfig
from roost_channels.errors import AuthBroken, DeliveryError, Throttled
from roost_channels.intake import Intake
from roost_channels.telegram import updates
from roost_channels.telegram.client import TelegramClient
from roost_channels.telegram.inbound import checked_secret

logger = logging.getLogger(__name__)

COMMANDS = (
    ("new", "Start a new conversation"),
    ("stop", "Stop what is running"),
    ("status", "What is going on"),
    ("queue", "What happens to messages you send while I work"),
    ("help", "What I can do"),
)
BATCH_MAX = 100
BACKOFF_S = 1.0
BACKOFF_MAX_S = 30.0
CONFLICT_MAX_S = 60.0
# Credentials that fail are tried again this slowly: a new token comes with a restart.
AUTH_PROBE_S = 60.0
# Time the answer of a long poll may take beyond its own timeout.
POLL_SLACK_S = 10


class Poller:
    """The loop of one bot. States: up, degraded, conflict, auth_error; each is told on change."""

    def __init__(
        self,
        client: TelegramClient,
        config: TelegramConfig,
        intake: Intake,
        clock: Clock,
        acknowledge: Callable[[str], None],
    ) -> None:
        self._client = client
        self._config = config
        self._intake = intake
        self._clock = clock
        self._acknowledge = acknowledge
        self._account = config.account
        self._state = ""
        self._failures = 0

    async def run(self) -> None:
        """Poll for ever. The offset only moves past updates whose rows are committed."""
        await self._repeat(self._use_polling)
        offset: int | None = None
        while True:
            try:
                if offset is None:
                    offset = await self._intake.cursor("telegram", self._account)
                offset = await self._poll(offset)
                self._failures = 0
                await self._tell("up")
            except DeliveryError as error:
                await self._rest(error)
            except Exception as error:
                # Storage failed: nothing was acknowledged, the next poll brings the same again.
                logger.exception("updates were not stored")
                await self._rest(error)
                offset = None

    async def _poll(self, offset: int | None) -> int | None:
        """One long poll and its commit; returns the next offset."""
        asked = {
            "offset": offset,
            "limit": BATCH_MAX,
            "timeout": self._config.poll_timeout_s,
            "allowed_updates": list(updates.ALLOWED_UPDATES),
        }
        timeout_s = self._config.poll_timeout_s + POLL_SLACK_S
        batch = await self._client.call("getUpdates", asked, repeatable=True, timeout_s=timeout_s)
        if not batch:
            return offset
        cursor = max(int(update["update_id"]) for update in batch) + 1
        username = await self._client.username()
        found = (updates.read(update, self._account, username) for update in batch)
        messages = [message for message in found if message is not None]
        await self._intake.accept("telegram", self._account, messages, cursor=cursor)
        for update in batch:
            if callback := update.get("callback_query"):
                self._acknowledge(str(callback["id"]))
        return cursor

    async def _use_polling(self) -> None:
        await self._client.call("deleteWebhook", repeatable=True)

    async def _repeat(self, action: Callable[[], Any]) -> None:
        while True:
            try:
                await action()
                return
            except DeliveryError as error:
                await self._rest(error)

    async def _rest(self, error: Exception) -> None:
        """Tell what is wrong, and wait as long as its kind deserves."""
        self._failures += 1
        wait = min(BACKOFF_S * 2 ** min(self._failures - 1, 10), BACKOFF_MAX_S)
        state = "degraded"
        if isinstance(error, AuthBroken):
            state, wait = "auth_error", AUTH_PROBE_S
        elif isinstance(error, DeliveryError) and error.code == "409":
            # Another poller, or a webhook that somebody set: the second we take back.
            state, wait = "conflict", min(wait * 5, CONFLICT_MAX_S)
            if "webhook" in error.description.lower():
                await self._take_back()
        elif isinstance(error, Throttled):
            wait = error.retry_after_s
        # One failed poll is no news: servers restart.
        if state != "degraded" or self._failures > 2 or not isinstance(error, DeliveryError):
            await self._tell(state, str(error))
        await self._clock.sleep(wait)

    async def _take_back(self) -> None:
        try:
            await self._use_polling()
        except DeliveryError as error:
            logger.warning("the webhook in our way could not be removed: %s", error)

    async def _tell(self, state: str, detail: str = "") -> None:
        if state == self._state:
            return
        if state != "up":
            logger.error("telegram %s is %s: %s", self._account, state, detail)
        try:
            await self._intake.channel_state("telegram", self._account, state, detail)
            self._state = state
        except Exception:
            logger.exception("the channel's state could not be recorded")


async def register_commands(client: TelegramClient) -> None:
    """Set the command menu if it differs; a failure is harmless."""
    wanted = [{"command": name, "description": text} for name, text in COMMANDS]
    try:
        current = await client.call("getMyCommands", repeatable=True, timeout_s=5)
        shown = [{key: c.get(key) for key in ("command", "description")} for c in current or ()]
        if shown != wanted:
            await client.call("setMyCommands", {"commands": wanted}, repeatable=True, timeout_s=5)
    except DeliveryError as error:
        logger.warning("commands not registered: %s", error)


async def register_webhook(
    client: TelegramClient,
    config: TelegramConfig,
    public_base_url: str,
    intake: Intake,
    clock: Clock,
) -> None:
    """Point Telegram at our webhook, trying until it is done."""
    secret = checked_secret(config)
    hook = {
        "url": f"{public_base_url.rstrip('/')}/hooks/telegram/{config.account}",
        "secret_token": secret,
        "allowed_updates": list(updates.ALLOWED_UPDATES),
    }
    wait = BACKOFF_S
    while True:
        try:
            await client.call("setWebhook", hook, repeatable=True)
            await intake.channel_state("telegram", config.account, "up", "webhook")
            return
        except DeliveryError as error:
            state = "auth_error" if isinstance(error, AuthBroken) else "degraded"
            await intake.channel_state("telegram", config.account, state, str(error))
            await clock.sleep(AUTH_PROBE_S if isinstance(error, AuthBroken) else wait)
            wait = min(wait * 2, BACKOFF_MAX_S)
