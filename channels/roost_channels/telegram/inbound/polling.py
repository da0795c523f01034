"""Polls Telegram for updates and commits them; the next poll then acknowledges them."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from roost_channels.clock import Clock
from roost_channels.config import AUTH_PROBE_S
from roost_channels.errors import AuthBroken, DeliveryError, NotSent, Throttled
from roost_channels.intake import Intake
from roost_channels.message import InboundMessage
from roost_channels.telegram.bot_api import methods
from roost_channels.telegram.client import TelegramClient
from roost_channels.telegram.config import TelegramConfig
from roost_channels.telegram.forums import Forums
from roost_channels.telegram.inbound import updates

logger = logging.getLogger(__name__)

BATCH_MAX = 100
BACKOFF_S = 1.0
# A network that came back is noticed within this time.
BACKOFF_MAX_S = 5.0
CONFLICT_MAX_S = 60.0
# An offset is not used longer than this after the last update.
QUIET_S = 86_400.0
# Batches that storage refuses in a row before it is given their events one by one.
REFUSED_MAX = 3
# Polls in a row that leave a group's message with Telegram because we can't tell whether it is for
# us: about a minute. Private chats wait with it.
NAMELESS_MAX = 15
# Time the answer of a long poll may take beyond its own timeout.
POLL_SLACK_S = 10


class GetRawUpdates(methods.GetUpdates):
    """getUpdates with its result as it came: updates are stored before anybody reads them, and one
    that aiogram can't read is stored like the others.
    """

    __returning__ = list[Any]


class Poller:
    """The loop of one bot. It reports its state: up, degraded, conflict, auth_error."""

    def __init__(
        self,
        client: TelegramClient,
        config: TelegramConfig,
        intake: Intake,
        clock: Clock,
        acknowledge: Callable[[str, str], None],
        auth_probe_s: float = AUTH_PROBE_S,
        forums: Forums | None = None,
    ) -> None:
        self._client = client
        self._config = config
        self._intake = intake
        self._clock = clock
        self._acknowledge = acknowledge
        self._forums = forums or Forums()
        self._auth_probe_s = auth_probe_s
        self._account = config.account
        self._state = ""
        self._failures = 0
        self._asks_at_once = True
        self._offset: int | None = None
        self._heard_at = 0.0
        self._refused = 0
        self._nameless = 0

    async def run(self) -> None:
        """Poll for ever. The offset only moves past updates whose rows are committed."""
        await self._repeat(self._use_polling)
        while True:
            try:
                await self.poll()
                self._failures, self._asks_at_once = 0, False
                await self._tell("up")
            except DeliveryError as error:
                await self._rest(error)
            except Exception as error:
                # Storage failed: nothing was acknowledged, the next poll brings the same again.
                logger.exception("updates were not stored")
                self._offset = None
                self._refused += 1
                await self._rest(error)

    async def poll(self) -> None:
        """One long poll and its commit; the offset then is past what was committed.

        Without an offset Telegram gives what was not acknowledged yet. That is asked for at the
        start and after a quiet day: after a quiet week it begins other numbers, maybe below all
        that came before, and an offset from then would drop them unseen.

        The first poll, and the first after a failure, does not wait for updates: that the bot works
        again is known and reported at once, not after a quiet long poll.
        """
        if self._clock.time() - self._heard_at > QUIET_S:
            self._offset = None
        request = GetRawUpdates(
            offset=self._offset,
            limit=BATCH_MAX,
            timeout=0 if self._asks_at_once else self._config.poll_timeout_s,
            allowed_updates=list(updates.ALLOWED_UPDATES),
        )
        timeout_s = self._config.poll_timeout_s + POLL_SLACK_S
        batch: Any = await self._client.call(request, repeatable=True, timeout_s=timeout_s)
        if not batch:
            return
        numbers = [n for n in map(updates.update_id, batch) if n is not None]
        cursor = max(numbers) + 1 if numbers else None
        for update in batch:
            self._forums.learn(update)
        username = await self._client.username()
        if not username and self._nameless < NAMELESS_MAX and any(map(_names_somebody, batch)):
            self._nameless += 1
            self._offset = None
            raise NotSent("the bot's name is unknown, and a group's message names somebody")
        self._nameless = 0
        readings = (updates.read(update, self._account, username) for update in batch)
        messages = [message for message in readings if message is not None]
        answers = await self._accept(messages, cursor)
        self._offset, self._heard_at, self._refused = cursor, self._clock.time(), 0
        for message in messages:
            if message.kind == "callback":
                query = message.raw["callback_query"]
                self._acknowledge(str(query["id"]), answers.get(message.event_id, ""))

    async def _accept(
        self, messages: Sequence[InboundMessage], cursor: int | None
    ) -> Mapping[str, str]:
        """Commit a batch; one that storage refused before is committed event by event.

        An event that storage refuses while it accepts a note of it becomes a dead letter.
        """
        if self._refused < REFUSED_MAX:
            accepted = await self._intake.accept("telegram", self._account, messages, cursor=cursor)
            return accepted.answers
        answers: dict[str, str] = {}
        for message in messages:
            answers |= await self._accept_alone(message)
        await self._intake.accept("telegram", self._account, (), cursor=cursor)
        return answers

    async def _accept_alone(self, message: InboundMessage) -> Mapping[str, str]:
        number = {"update_id": updates.update_id(message.raw)}
        refusal: Exception | None = None
        for raw in (None, None, message.raw, number):
            event = message
            if refusal is not None:
                await self._intake.accept("telegram", self._account, ())  # does storage work?
                event = message if raw is None else updates.unreadable(raw, self._account, refusal)
            try:
                return (await self._intake.accept("telegram", self._account, (event,))).answers
            except Exception as error:
                logger.exception("update %s is refused by storage", message.event_id)
                refusal = refusal or error
        raise RuntimeError(f"update {message.event_id} can't be stored in any form") from refusal

    async def _use_polling(self) -> None:
        await self._client.call(methods.DeleteWebhook(), repeatable=True)

    async def _repeat(self, action: Callable[[], Any]) -> None:
        while True:
            try:
                await action()
                return
            except DeliveryError as error:
                await self._rest(error)

    async def _rest(self, error: Exception) -> None:
        """Report what is wrong, and wait as long as this kind of failure needs."""
        self._failures += 1
        self._asks_at_once = True
        wait = min(BACKOFF_S * 2 ** min(self._failures - 1, 10), BACKOFF_MAX_S)
        state = "degraded"
        if isinstance(error, AuthBroken):
            state, wait = "auth_error", self._auth_probe_s  # a new token comes with a restart
        elif isinstance(error, DeliveryError) and error.code == "409":
            # Another poller, or a webhook that somebody set, which we remove.
            state, wait = "conflict", min(wait * 5, CONFLICT_MAX_S)
            if "webhook" in error.description.lower():
                await self._take_back()
        elif isinstance(error, Throttled):
            wait = error.retry_after_s
        # One failed poll is not worth a report: servers restart.
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


def _names_somebody(update: Any) -> bool:
    """Whether a group's message holds a name, which may be ours."""
    message = update.get("message") if isinstance(update, Mapping) else None
    chat = message.get("chat") if isinstance(message, Mapping) else None
    if not isinstance(message, Mapping) or not isinstance(chat, Mapping):
        return False
    text = str(message.get("text") or message.get("caption") or "")
    return chat.get("type") != "private" and "@" in text
