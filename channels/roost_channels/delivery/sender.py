"""One part on its way: sent, tried again later, in doubt, or set aside.

A lane calls `send` here and `reconcile` in reconciling.py while it holds the chat. Both commit what
happened and return the time before which the lane has nothing to do, None for at once.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from roost_channels.channel import Channel, Grouping, Inviting, Ordering, Outgoing
from roost_channels.clock import Clock
from roost_channels.config import DeliveryConfig
from roost_channels.delivery.ledger import Filing
from roost_channels.delivery.limits import Limiter
from roost_channels.delivery.parts import without_file
from roost_channels.errors import (
    Ambiguous,
    AuthBroken,
    ChatMigrated,
    DeliveryError,
    NotSent,
    Rejected,
    RenderRejected,
    Throttled,
    WindowClosed,
)
from roost_channels.message import Receipt, ReplyTarget
from roost_channels.outbox import Outbox, OutboxEntry, StoredPart
from roost_channels.rendering.parts import plainer

logger = logging.getLogger(__name__)

# (channel, account, state, detail): the same arguments as Intake.channel_state.
Report = Callable[[str, str, str, str], Awaitable[None]]

REMEMBERED_MAX = 10_000
# A first refusal of credentials may be a server's hiccup: tried again soon, then ever later.
AUTH_FIRST_PROBE_S = 5.0
STOPPED = "the courier was stopped before the request left"


class Sender(Filing):
    """Sends single parts and files the outcome."""

    def __init__(
        self,
        outbox: Outbox,
        owner: str,
        clock: Clock,
        config: DeliveryConfig,
        limiter: Limiter,
        stop: asyncio.Event,
        report: Report | None = None,
    ) -> None:
        super().__init__(outbox, clock, config, limiter, stop)
        self._owner = owner
        self._report = report
        # Quotes that the provider refused: sent again as a plain reply.
        self._unquoted: OrderedDict[str, None] = OrderedDict()
        # Accounts whose credentials fail, and when they are tried again.
        self.paused: dict[tuple[str, str], float] = {}
        self._auth_waits: dict[tuple[str, str], float] = {}

    async def free_at(
        self, channel: Channel, entry: OutboxEntry, part: StoredPart | None
    ) -> float | None:
        """When the chat may be called; None for now. A part that is about to be sent waits for the
        one before it first, and another chat's call may teach of a wait meanwhile.
        """
        until = self._allowed_at(channel, entry)
        if until is not None or part is None or not isinstance(channel, Ordering):
            return until
        try:
            await channel.in_order(entry.address, part.id)
        except Throttled as error:
            return self._clock.time() + await self._learn(entry, error)
        return self._allowed_at(channel, entry)

    def _allowed_at(self, channel: Channel, entry: OutboxEntry) -> float | None:
        now = self._clock.time()
        wait_s = self._limiter.wait_s(entry.address, channel.capabilities, "send", now)
        return now + wait_s if wait_s else None

    async def send(
        self, channel: Channel, entry: OutboxEntry, parts: Sequence[StoredPart]
    ) -> float | None:
        """One attempt of a part, or of the parts of an album, which share its fate.

        The state `sending` commits before the request leaves, and after the wait for what went
        before: a courier that ends meanwhile leaves nothing in doubt. One that is told to stop
        begins no attempt, and takes back one whose request has not left yet.
        """
        if self._stop.is_set():
            return None
        attempt = 0
        for part in parts:
            tried = await self._outbox.sending(part.id, self._owner, self._config.lease_s)
            attempt = max(attempt, tried)
            self._limiter.take(entry.address, channel.capabilities, "send", self._clock.time())
        if self._stop.is_set():
            for part in parts:
                await self._later(part, self._clock.time(), STOPPED)
            return None
        try:
            receipts = await self._give(channel, entry, parts)
        except DeliveryError as error:
            return await self._refused(channel, entry, parts, attempt, error)
        except Exception as error:
            # A fault of the adapter: the request may have left.
            logger.exception("send of part %s failed unexpectedly", parts[0].id)
            return await self._refused(channel, entry, parts, attempt, Ambiguous(repr(error)))
        # Should storage refuse one, the others' proofs must not be lost with it.
        for part, receipt in zip(parts, receipts, strict=True):
            self._keep(part, receipt)
        for part, receipt in zip(parts, receipts, strict=True):
            self._unquoted.pop(part.id, None)
            await self._record(part, receipt)
        if self.paused.pop((channel.name, channel.account), None) is not None:
            self._auth_waits.pop((channel.name, channel.account), None)
            await self._tell(channel, "up", "")
        return None

    async def _give(
        self, channel: Channel, entry: OutboxEntry, parts: Sequence[StoredPart]
    ) -> Sequence[Receipt]:
        part = parts[0]
        reply = self._reply(entry, part)
        if entry.kind == "invitation":
            return (await _invite(channel, entry, part),)
        if isinstance(channel, Grouping) and len(parts) > 1:
            return await channel.send_album(
                [Outgoing(entry.address, one.rendered, reply_to=reply) for one in parts]
            )
        sent = await channel.send(
            Outgoing(
                entry.address,
                part.rendered,
                reply_to=reply,
                buttons=entry.buttons if part.index == part.count - 1 else (),
                part_id=part.id,
            )
        )
        return (sent,)

    # Outcomes --------------------------------------------------------------------------------

    async def _refused(
        self,
        channel: Channel,
        entry: OutboxEntry,
        parts: Sequence[StoredPart],
        attempt: int,
        error: DeliveryError,
    ) -> float | None:
        now = self._clock.time()
        spent = attempt >= self._config.attempts_max
        too_old = now - entry.created_at >= self._config.give_up_s
        told: dict[str, Any] = {
            "error": str(error),
            "code": error.code,
            "http_status": error.http_status,
        }
        match error:
            case Ambiguous():
                for part in parts:
                    await self._outbox.ambiguous(part.id, **told)
                return None
            case Throttled() if not too_old:
                return await self._all_later(parts, now + await self._learn(entry, error), error)
            case WindowClosed() if not too_old and entry.kind != "invitation":
                # Storage wakes it when the person writes again.
                invitation = channel.capabilities.invitation
                until = now + self._config.hold_s
                return await self._later(parts[0], until, error, held=True, invitation=invitation)
            case AuthBroken() if not too_old:
                until = now + self._auth_wait(channel)
                self.paused[channel.name, channel.account] = until
                await self._tell(channel, "auth_error", str(error))
                return await self._all_later(parts, until, error)
            case ChatMigrated() if not spent:
                await self._all_later(parts, now, error)
                await self._outbox.moved(entry.address, error.new_chat)
                return None
            case RenderRejected() | Rejected() if not spent and await self._plainer(
                entry, parts, error
            ):
                await self._all_later(parts, now, error)
                return None
            case NotSent() if not spent:
                return await self._all_later(parts, now + self._backoff(attempt), error)
        await self._all_later(parts[1:], now, error)
        await self._outbox.failed(parts[0].id, **told)
        return None

    async def _all_later(
        self, parts: Sequence[StoredPart], at: float, error: DeliveryError
    ) -> float:
        for part in parts:
            await self._later(part, at, error)
        return at

    async def _plainer(
        self, entry: OutboxEntry, parts: Sequence[StoredPart], error: DeliveryError
    ) -> bool:
        """Give up the least that the provider objects to: the quote, the album, the form of the
        file, the formatting, the reply; a file itself last of all, and never its words.
        """
        part, is_form = parts[0], isinstance(error, RenderRejected)
        rendered, reply = part.rendered, self._reply(entry, part)
        media = rendered.media
        about_reply = error.code in ("quote", "reply")
        if error.code == "quote" and reply and reply.quote:
            self._remember(self._unquoted, part.id, None)
        elif len(parts) > 1 and not (about_reply and reply):
            for one in parts:
                await self._outbox.replan(one.id, replace(one.rendered, album=""))
        elif is_form and error.code == "media" and media and media.kind != "document":
            as_document = replace(rendered, media=replace(media, kind="document"))
            await self._outbox.replan(part.id, as_document)
        elif is_form and rendered.rich:
            await self._outbox.replan(part.id, replace(rendered, rich=""))
        elif is_form and rendered.entities and not about_reply:
            await self._outbox.replan(part.id, plainer(rendered))
        elif is_form and reply:
            await self._outbox.replan(part.id, rendered, drop_reply=True)
        elif media:
            await self._outbox.replan(part.id, without_file(rendered))
        else:
            return False
        return True

    # Small parts -----------------------------------------------------------------------------

    def _reply(self, entry: OutboxEntry, part: StoredPart) -> ReplyTarget | None:
        if part.index or entry.reply_to is None:
            return None
        if part.id in self._unquoted:
            return replace(entry.reply_to, quote="", utf16_start=None)
        return entry.reply_to

    def _auth_wait(self, channel: Channel) -> float:
        """5, 10, 20 s and so on until the next try with refused credentials, up to a bound."""
        account = channel.name, channel.account
        wait_s = min(self._auth_waits.get(account, AUTH_FIRST_PROBE_S), self._config.auth_probe_s)
        self._auth_waits[account] = wait_s * 2
        return wait_s

    def _remember(self, store: OrderedDict[str, Any], key: str, value: Any) -> None:
        store[key] = value
        while len(store) > REMEMBERED_MAX:
            store.popitem(last=False)

    async def _tell(self, channel: Channel, state: str, detail: str) -> None:
        if self._report is not None:
            await self._report(channel.name, channel.account, state, detail)


async def _invite(channel: Channel, entry: OutboxEntry, part: StoredPart) -> Receipt:
    if not isinstance(channel, Inviting):
        raise Rejected("this account has no template any more", code="template")
    return await channel.invite(entry.address, part_id=part.id)
