"""The watch over everything: looks, writes the book, tells chats and webhooks."""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.errors import DeliveryError
from roost_channels.http.egress import Egress
from roost_platform.alerts import book
from roost_platform.alerts.book import Notice
from roost_platform.alerts.conditions import Condition
from roost_platform.alerts.rules import Starts, conditions
from roost_platform.db import models
from roost_platform.db.base.plain import PlainConnection, read_plain
from roost_platform.db.enqueue import enqueue
from roost_platform.db.locks import lock_conversation
from roost_platform.db.stores import Stores
from roost_platform.rhythm import until_beat
from roost_platform.settings.watching import AlertsConfig

LOOK_S: Final = 15.0
WAITING_MAX: Final = (
    50  # notices for the webhook; beyond that the oldest are dropped, and it is said
)
TRIES_MAX: Final = 4  # of one notice at the webhook, one with each look

log = logging.getLogger(__name__)


class AlertWatch:
    """Looks for what is wrong, and tells operators once.

    accounts: the configured ones; of others, which were taken out of the settings, nothing is told.
    None where they are not known.
    """

    def __init__(
        self,
        stores: Stores,
        config: AlertsConfig,
        data_dir: Path,
        *,
        accounts: Collection[tuple[str, str]] | None = None,
        egress: Callable[[str], Egress] = Egress,
    ) -> None:
        self._accounts = accounts
        self._stores = stores
        self._config = config
        self._data_dir = data_dir
        self._egress = egress
        self._starts = Starts()
        self._webhook = config.webhook.get_secret_value()
        # (notice, tries so far)
        self._waiting: deque[tuple[Notice, int]] = deque(maxlen=WAITING_MAX)

    async def run(self) -> None:
        """Look for ever; a look that fails is logged and repeated."""
        while True:
            try:
                await self.look()
            except Exception:
                log.exception("looking for what is wrong failed")
            await asyncio.sleep(until_beat(LOOK_S))

    async def look(self) -> Sequence[Notice]:
        """Look once; returns what was told."""
        database = self._stores.database
        now = database.now()
        found, has_open = await read_plain(database, lambda connection: self._find(connection, now))
        wanted = [one for one in found if one.rule in self._config.rules]
        if not (wanted or has_open or self._waiting):
            return []
        async with database.write(is_news=bool(wanted)) as session:
            notices = await book.update(session, wanted, now, self._config.cool_down_s)
            for notice in notices:
                log.warning("%s", notice.text)
                await self._tell_chats(session, notice, now)
        if self._webhook:
            self._waiting.extend((notice, 0) for notice in notices)
        await self._post()
        return notices

    def _find(self, connection: PlainConnection, now: float) -> tuple[list[Condition], bool]:
        """What is wrong now, and whether anything was."""
        found = conditions(
            connection,
            now,
            starts=self._starts,
            data_dir=self._data_dir,
            config=self._config,
            accounts=self._accounts,
        )
        return found, book.has_open(connection)

    async def _tell_chats(self, session: AsyncSession, notice: Notice, now: float) -> None:
        """Queue the notice for each chat, as any other message, in the book's own transaction."""
        outcomes = []
        for key in self._config.chats:
            known = select(models.Conversation.id).where(models.Conversation.key == key)
            conversation_id = await session.scalar(known)
            if conversation_id is None:
                outcomes.append(f"{key}: nobody has written there yet")
                continue
            conversation = await lock_conversation(session, conversation_id)
            await enqueue(
                session,
                conversation,
                kind="notice",
                body=notice.text,
                dedupe_key=f"alert:{notice.alert_id}:{notice.number}:{key}",
                now=now,
            )
            outcomes.append(f"{key}: queued")
        await _note(
            session, notice, "; ".join(outcomes) or "to nobody: no chat and no webhook is set"
        )

    async def _post(self) -> None:
        """Send what waits for webhooks, each once; what fails waits for the next look."""
        for _ in range(len(self._waiting)):
            notice, tries = self._waiting.popleft()
            problem = await self._post_one(notice)
            if problem and tries + 1 < TRIES_MAX:
                self._waiting.append((notice, tries + 1))
            outcome = f"webhook: {problem or 'told'}"
            async with self._stores.database.write(is_news=False) as session:
                await _note(session, notice, outcome)

    async def _post_one(self, notice: Notice) -> str:
        """Send a notice to the webhook; why it failed, empty if it did not. Never raises."""
        egress = self._egress(self._webhook)
        try:
            body = json.dumps(payload(notice)).encode()
            status = await egress.post(self._webhook, body, content_type="application/json")
        except (DeliveryError, TimeoutError) as error:
            log.warning("an alert's webhook can't be told: %s", type(error).__name__)
            return str(error) or "it does not answer in time"
        finally:
            await egress.close()
        return "" if 200 <= status < 300 else f"it answers {status}"


def payload(notice: Notice) -> dict[str, Any]:
    """What a webhook gets; `text` is what chat services show."""
    return {
        "text": notice.text,
        "alert": notice.alert_id,
        "rule": notice.rule,
        "subject": notice.subject,
        "count": notice.count,
        "state": "resolved" if notice.is_resolved else "open",
        "opened_at": notice.opened_at,
        "at": notice.at,
    }


async def _note(session: AsyncSession, notice: Notice, outcome: str) -> None:
    """Keep how a notice went, for the Alerts page."""
    await session.execute(
        update(models.Alert)
        .where(models.Alert.id == notice.alert_id)
        .values(delivery=outcome[:300])
        .execution_options(synchronize_session=False)
    )
