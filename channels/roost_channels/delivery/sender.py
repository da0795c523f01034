"""Sends one part and commits the outcome: sent, to be tried again, in doubt, or failed.

This file decides whether a part that the provider refused is sent again, and when. A lane calls
`send` here, and `settle` of the Settler, while it holds the chat. Both return the time before which
the lane has nothing to do, None for at once.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from roost_channels.channel import Channel, Grouping, Ordering, Outgoing, invite
from roost_channels.delivery.copies import take_back
from roost_channels.delivery.edits import edit_message, edits_in_place
from roost_channels.delivery.ledger import Ledger
from roost_channels.delivery.parts import without_file
from roost_channels.delivery.remembered import Remembered
from roost_channels.errors import (
    THREAD_GONE,
    Ambiguous,
    AuthBroken,
    ChatMigrated,
    DeliveryError,
    NotSent,
    Rejected,
    RenderRejected,
    Throttled,
    Unreachable,
    WindowClosed,
    failure_of,
)
from roost_channels.message import Receipt, ReplyTarget
from roost_channels.outbox import OutboxEntry, PartOver, StoredPart
from roost_channels.rendering.parts import out_of_topic, plainer

logger = logging.getLogger(__name__)

# (channel, account, state, detail): the same arguments as Intake.channel_state.
ReportState = Callable[[str, str, str, str], Awaitable[None]]

REMEMBERED_MAX = 10_000
# The wait after the first refusal of credentials, which may be a short fault of the server; each
# wait after it is twice as long.
AUTH_FIRST_PROBE_S = 5.0
STOPPED = "the courier was stopped before the request left"
DROPPED = "the message was stopped before the request left"


class PartSender:
    """Sends single parts, and albums of them.

    owner: the name of this courier process, under which parts are claimed.
    report: is told when an account's credentials fail, and when they work again.
    """

    def __init__(self, ledger: Ledger, owner: str, report: ReportState | None = None) -> None:
        self._ledger = ledger
        self._outbox = ledger.outbox
        self._clock = ledger.clock
        self._config = ledger.config
        self._owner = owner
        self._report = report
        # Quotes that the provider refused: sent again as a plain reply.
        self._unquoted = Remembered(REMEMBERED_MAX)
        # Parts whose topic is gone: sent to the chat itself.
        self._out_of_topic = Remembered(REMEMBERED_MAX)
        # Accounts whose credentials fail, and when they are tried again.
        self._paused: dict[tuple[str, str], float] = {}
        self._auth_waits: dict[tuple[str, str], float] = {}

    def paused_until(self, channel: Channel) -> float:
        """When an account whose credentials failed is tried again; 0 where they work."""
        return self._paused.get((channel.name, channel.account), 0.0)

    async def free_at(
        self, channel: Channel, entry: OutboxEntry, part: StoredPart | None
    ) -> float | None:
        """When the chat may be called; None for now.

        part: one that is about to be sent. Where the provider keeps no order it waits for the part
        before it first, and the limits are asked again afterwards.
        """
        until = self._ledger.allowed_at(channel, entry)
        if until is not None or part is None or not isinstance(channel, Ordering):
            return until
        try:
            await channel.in_order(entry.address, part.id)
        except Throttled as error:
            return self._clock.time() + await self._ledger.learn_wait(entry.address, error)
        return self._ledger.allowed_at(channel, entry)

    async def send(
        self, channel: Channel, entry: OutboxEntry, parts: Sequence[StoredPart]
    ) -> float | None:
        """Make one attempt to send a part, or the parts of an album, which share one outcome.

        The state `sending` commits before the request leaves and after the wait for the part
        before, so a courier that ends during the wait leaves nothing in doubt. A courier that is
        told to stop begins no attempt, and takes back one whose request has not left yet.
        """
        if self._ledger.stop.is_set():
            return None
        claim, claimed = self._outbox.sending, list[StoredPart]()
        for part in parts:
            try:
                tried = await claim(part.id, self._owner, self._config.lease_s, after=part.attempts)
            except PartOver:
                # The person stopped the message, or another courier sent it, since the lane looked.
                # Parts of an album that are claimed already are given back.
                await self._try_all_later(claimed, self._clock.time(), DROPPED)
                return None
            claimed.append(replace(part, attempts=tried))
            self._ledger.take(channel, entry)
        parts, attempt = claimed, max(one.attempts for one in claimed)
        if self._ledger.stop.is_set():
            await self._try_all_later(parts, self._clock.time(), STOPPED)
            return None
        try:
            receipts = await self._request(channel, entry, parts)
        except DeliveryError as error:
            return await self._handle_refusal(channel, entry, parts, attempt, error)
        except Exception as error:
            # A fault of the adapter: the request may have left.
            logger.exception("send of part %s failed unexpectedly", parts[0].id)
            return await self._handle_refusal(
                channel, entry, parts, attempt, Ambiguous(repr(error))
            )
        # If storage refuses one proof, the others must not be lost with it.
        for part, receipt in zip(parts, receipts, strict=True):
            self._ledger.keep(part, receipt)
        for part, receipt in zip(parts, receipts, strict=True):
            self._unquoted.discard(part.id)
            self._out_of_topic.discard(part.id)
            if not await self._ledger.record(part, receipt) and entry.buttons:
                await take_back(self._ledger, channel, entry, receipt)
        if self._paused.pop((channel.name, channel.account), None) is not None:
            self._auth_waits.pop((channel.name, channel.account), None)
            await self._report_state(channel, "up", "")
        return None

    async def _request(
        self, channel: Channel, entry: OutboxEntry, parts: Sequence[StoredPart]
    ) -> Sequence[Receipt]:
        part = parts[0]
        reply = self._reply(entry, part)
        address = entry.address
        if part.id in self._out_of_topic:
            address, reply = replace(address, thread=""), None
        if entry.kind == "invitation":
            return (await invite(channel, entry.address, part.id),)
        if edits_in_place(channel, entry):
            return (await edit_message(channel, entry, part),)
        if isinstance(channel, Grouping) and len(parts) > 1:
            return await channel.send_album(
                [Outgoing(address, one.rendered, reply_to=reply) for one in parts]
            )
        sent = await channel.send(
            Outgoing(
                address,
                part.rendered,
                reply_to=reply,
                buttons=entry.buttons if part.index == part.count - 1 else (),
                part_id=part.id,
                asks=entry.kind == "prompt",
            )
        )
        return (sent,)

    async def _handle_refusal(
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
        failure = failure_of(error)
        match error:
            case Ambiguous():
                for part in parts:
                    await self._outbox.ambiguous(part.id, failure, attempt=part.attempts)
                return None
            case Throttled() if not too_old:
                return await self._try_all_later(
                    parts, now + await self._ledger.learn_wait(entry.address, error), error
                )
            case WindowClosed() if not too_old and entry.kind != "invitation":
                # Storage wakes it when the person writes again.
                invitation = channel.capabilities.invitation
                until = now + self._config.hold_s
                return await self._ledger.try_later(
                    parts[0], until, error, held=True, invitation=invitation
                )
            case AuthBroken() if not too_old:
                until = now + self._auth_wait(channel)
                self._paused[channel.name, channel.account] = until
                await self._report_state(channel, "auth_error", str(error))
                return await self._try_all_later(parts, until, error)
            case ChatMigrated() if not spent:
                await self._try_all_later(parts, now, error)
                await self._outbox.moved(entry.address, error.new_chat)
                return None
            case RenderRejected() | Rejected() if not spent and await self._simplify(
                entry, parts, error
            ):
                await self._try_all_later(parts, now, error)
                return None
            case Unreachable() if not spent and await self._leave_topic(
                channel, entry, parts, error
            ):
                await self._try_all_later(parts, now, error)
                return None
            case NotSent() if not spent:
                return await self._try_all_later(
                    parts, now + self._ledger.backoff_s(attempt), error
                )
        await self._try_all_later(parts[1:], now, error)
        await self._outbox.failed(parts[0].id, failure, attempt=parts[0].attempts)
        return None

    async def _try_all_later(
        self, parts: Sequence[StoredPart], at: float, error: DeliveryError | str
    ) -> float:
        for part in parts:
            await self._ledger.try_later(part, at, error)
        return at

    async def _leave_topic(
        self, channel: Channel, entry: OutboxEntry, parts: Sequence[StoredPart], error: Unreachable
    ) -> bool:
        """Send to the chat itself, once, what was meant for a topic that is gone."""
        if error.code != THREAD_GONE or parts[0].id in self._out_of_topic:
            return False
        for part in parts:
            self._out_of_topic.add(part.id)
            if part.index == 0:
                noted = out_of_topic(part.rendered, channel.capabilities.text_max)
                await self._outbox.replan(part.id, noted, attempt=part.attempts)
        return True

    async def _simplify(
        self, entry: OutboxEntry, parts: Sequence[StoredPart], error: DeliveryError
    ) -> bool:
        """Plan the part again without the thing that the provider refuses.

        In this order: quote, album, form of the file, formatting, reply, and last the file itself;
        its words always stay. False when nothing plainer is left.
        """
        part, reply, rendered = parts[0], self._reply(entry, parts[0]), parts[0].rendered
        media = rendered.media  # a bad request (400) for other reasons may be about a text's form
        is_form = isinstance(error, RenderRejected) or (not media and error.http_status == 400)
        about_reply = error.code in ("quote", "reply")
        if error.code == "quote" and reply and reply.quote:
            self._unquoted.add(part.id)
        elif len(parts) > 1 and not (about_reply and reply):
            for one in parts:
                alone = replace(one.rendered, album="")
                await self._outbox.replan(one.id, alone, attempt=one.attempts)
        elif is_form and error.code == "media" and media and media.kind != "document":
            as_document = replace(rendered, media=replace(media, kind="document"))
            await self._outbox.replan(part.id, as_document, attempt=part.attempts)
        elif is_form and rendered.rich:
            await self._outbox.replan(part.id, replace(rendered, rich=""), attempt=part.attempts)
        elif is_form and rendered.entities and not about_reply:
            await self._outbox.replan(part.id, plainer(rendered), attempt=part.attempts)
        elif is_form and reply:
            await self._outbox.replan(part.id, rendered, drop_reply=True, attempt=part.attempts)
        elif media:
            await self._outbox.replan(part.id, without_file(rendered), attempt=part.attempts)
        else:
            return False
        return True

    def _reply(self, entry: OutboxEntry, part: StoredPart) -> ReplyTarget | None:
        if part.index or entry.reply_to is None:
            return None
        if not entry.reply_to.helps(is_group=entry.address.is_group):
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

    async def _report_state(self, channel: Channel, state: str, detail: str) -> None:
        if self._report is not None:
            await self._report(channel.name, channel.account, state, detail)
