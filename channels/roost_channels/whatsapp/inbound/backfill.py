"""Finds messages that no webhook brought, in the list that Twilio keeps.

Missing messages of people are taken in; failures of ours, which would else be lost without a word,
are filed as their receipts.
"""

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from roost_channels.clock import Clock
from roost_channels.delivery.receipts import FAILED
from roost_channels.errors import AuthBroken, DeliveryError, Rejected
from roost_channels.intake import DeliveryReceipt, Intake
from roost_channels.message import InboundMessage
from roost_channels.whatsapp.client import TwilioClient
from roost_channels.whatsapp.config import TwilioConfig
from roost_channels.whatsapp.errors import failure
from roost_channels.whatsapp.inbound import forms
from roost_channels.whatsapp.inbound.forms import Form
from roost_channels.whatsapp.window import refusal_of

logger = logging.getLogger(__name__)

PAGE_SIZE = 200
# Pages of one search; what lies beyond is reported, not waited for.
PAGES_MAX = 500
# Missing messages taken in by one search, oldest first; the next goes on from there.
MISSING_MAX = 1000
# A webhook has this long, retries included, before its message counts as missing.
GRACE_S = 45.0
# Searched again before the cursor: the list may show a message later than it dates it.
OVERLAP_S = 300.0
FAILURES_TOLD = 3
# After a failure the search is repeated this soon, then less often: a network that came back is
# noticed at once. Refused credentials are asked about ever more seldom.
RETRY_S = 5.0
RETRY_MAX_S = 15.0
AUTH_RETRY_MAX_S = 900.0


class Backfill:
    """Lists the sender's inbound messages since the stored cursor and takes in what is missing.

    The cursor is a time in whole seconds: everything older was seen. It moves in the transaction
    that stores what was missing.
    """

    def __init__(self, client: TwilioClient, config: TwilioConfig, clock: Clock) -> None:
        self._client = client
        self._account = config.account
        self._every_s = config.reconcile_s
        self._back_s = config.reconcile_back_s
        self._has_template = bool(config.window_template)
        self._clock = clock
        self._began = clock.time()
        self._state = ("up", "waiting for webhooks")

    async def run(self, intake: Intake) -> None:
        """Search at once, then for ever; returns when the setting turns it off."""
        failures, wait_s = 0, self._every_s
        while self._every_s > 0:
            try:
                missed = await self.search(intake)
                failures, wait_s = 0, self._every_s
                await self._tell(intake, *_health(missed))
            except DeliveryError as error:
                failures += 1
                wait_s = self._retry_s(failures)
                logger.info("search for missed messages failed: %s", error)
                if isinstance(error, AuthBroken):
                    wait_s = min(self._every_s * 2 ** min(failures, 10), self._longest())
                    await self._tell(intake, "auth_error", str(error))
                elif failures >= FAILURES_TOLD:
                    await self._tell(intake, "degraded", f"Twilio can't be asked: {error}")
            except Exception:
                failures += 1
                wait_s = self._retry_s(failures)
                logger.exception("search for missed messages failed")
            await self._clock.sleep(wait_s)

    async def search(self, intake: Intake) -> int:
        """Search once; returns how many messages had been missed."""
        now = self._clock.time()
        cursor = await intake.cursor("whatsapp", self._account)
        until = now - GRACE_S
        if cursor is None:
            # Messages from before the first start are not answered; those that came while the
            # database could not be reached are, even if the clock was set meanwhile.
            first = min(self._began - GRACE_S, until)
            await intake.accept("whatsapp", self._account, (), cursor=int(first))
            return 0
        if cursor > now:  # stored while the clock was ahead: what came then is dated before it
            cursor = int(now - self._back_s)
        since = max(cursor - OVERLAP_S, now - self._back_s)
        await self._file_failures(intake, since)
        missing = await self._missing(intake, since, until)
        batch = [await self._read(message) for message in missing]
        # A full batch: the next search goes on after its last message.
        reached = _sent_at(missing[-1]) if len(missing) == MISSING_MAX else until
        moved = max(int(reached), cursor)
        if batch:
            logger.warning("%d messages came without a webhook", len(batch))
        await intake.accept("whatsapp", self._account, batch, cursor=moved)
        return len(batch)

    async def _file_failures(self, intake: Intake, since: float) -> None:
        """File the failures of our own messages since then; one filed before changes nothing."""
        day = datetime.fromtimestamp(since, UTC).date().isoformat()
        query = {"From": self._account, "DateSent>": day, "PageSize": str(PAGE_SIZE)}
        following = ""
        for _ in range(PAGES_MAX):
            page, following = await self._client.page_of_messages(query, following)
            for message in page:
                if message.get("status") not in FAILED or _sent_at(message) < since:
                    continue
                code, status = message.get("error_code"), str(message["status"])
                receipt = DeliveryReceipt(
                    part_id="",
                    message_id=str(message.get("sid") or ""),
                    status=status,
                    error_code=str(code or ""),
                    description=str(message.get("error_message") or ""),
                    refusal=refusal_of(failure(status, code, ""), has_template=self._has_template),
                )
                await intake.receipt("whatsapp", self._account, receipt)
            if not following or (page and _sent_at(page[-1]) < since):
                return

    async def _missing(
        self, intake: Intake, since: float, until: float
    ) -> Sequence[Mapping[str, Any]]:
        """List inbound messages of [since, until] that were never accepted, oldest first."""
        # Filtered by day, as Twilio documents it; the page that reaches `since` is the last.
        day = datetime.fromtimestamp(since, UTC).date().isoformat()
        query = {"To": self._account, "DateSent>": day, "PageSize": str(PAGE_SIZE)}
        # Pages go back in time: when there are too many, the newest fall out first.
        missing: deque[Mapping[str, Any]] = deque(maxlen=MISSING_MAX)
        following = ""
        for _ in range(PAGES_MAX):
            page, following = await self._client.page_of_messages(query, following)
            inbound = [m for m in page if m.get("direction") == "inbound" and m.get("from")]
            timely = [m for m in inbound if since <= _sent_at(m) <= until]
            sids = [str(message["sid"]) for message in timely]
            unseen = await intake.unseen("whatsapp", self._account, sids) if sids else frozenset()
            missing.extend(message for message in timely if message["sid"] in unseen)
            if not following or (page and _sent_at(page[-1]) < since):
                break
        else:
            logger.error("more than %d messages since %s", PAGES_MAX * PAGE_SIZE, day)
        return sorted(missing, key=_sent_at)

    async def _read(self, message: Mapping[str, Any]) -> InboundMessage:
        """Read a listed message as its webhook would have brought it, as far as the list tells."""
        sid = str(message["sid"])
        pairs = [("MessageSid", sid), ("From", str(message.get("from") or ""))]
        pairs.append(("Body", str(message.get("body") or "")))
        media: list[tuple[str, str]] = []
        if str(message.get("num_media") or "0") != "0":
            try:
                media = await self._client.list_media(sid)
            except Rejected as error:  # deleted at Twilio: the words are left
                logger.info("the files of %s are gone: %s", sid, error)
        pairs.append(("NumMedia", str(len(media))))
        for index, (url, mime) in enumerate(media):
            pairs += [(f"MediaUrl{index}", url), (f"MediaContentType{index}", mime)]
        phone = str(message.get("from") or "").removeprefix("whatsapp:+")
        pairs.append(("WaId", phone))
        read = forms.read(Form(pairs), self._account, _sent_at(message))
        return replace(read, raw=dict(message))

    async def _tell(self, intake: Intake, state: str, detail: str) -> None:
        if (state, detail) != self._state:
            self._state = (state, detail)
            await intake.channel_state("whatsapp", self._account, state, detail)

    def _retry_s(self, failures: int) -> float:
        return min(self._every_s, RETRY_S * 2.0 ** min(failures - 1, 10), RETRY_MAX_S)

    def _longest(self) -> float:
        return max(self._every_s, AUTH_RETRY_MAX_S)


def _health(missed: int) -> tuple[str, str]:
    if not missed:
        return "up", "waiting for webhooks"
    messages = "1 message" if missed == 1 else f"{missed} messages"
    return "degraded", f"{messages} came without a webhook; is its address right?"


def _sent_at(message: Mapping[str, Any]) -> float:
    """Return when the person wrote, in seconds since the epoch; 0 where Twilio does not say."""
    for name in ("date_sent", "date_created"):
        try:
            return parsedate_to_datetime(str(message.get(name))).timestamp()
        except ValueError:
            continue
    return 0.0
