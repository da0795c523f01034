"""One part on its way: sent, tried again later, settled when its outcome is unknown, or set aside.

A lane calls `send` and `reconcile` while it holds the chat. Both commit what happened and return
the time before which the lane has nothing to do, None for at once.
"""

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from roost_channels.channel import Channel, Inviting
from roost_channels.clock import Clock
from roost_channels.config import DeliveryConfig
from roost_channels.errors import (
    Ambiguous,
    AuthBroken,
    ChatMigrated,
    DeliveryError,
    EditTargetMissing,
    NotModified,
    NotSent,
    Rejected,
    RenderRejected,
    Throttled,
    WindowClosed,
)
from roost_channels.limits import Limiter, learn
from roost_channels.message import Receipt, ReplyTarget
from roost_channels.outbox import OUTCOME_UNKNOWN, Outbox, OutboxEntry, StatusMessage, StoredPart
from roost_channels.rendering import labelled, plainer

logger = logging.getLogger(__name__)

# (channel, account, state, detail): the same arguments as Intake.channel_state.
Report = Callable[[str, str, str, str], Awaitable[None]]

REMEMBERED_MAX = 10_000
# A first refusal of credentials may be a server's hiccup: tried again soon, then ever later.
AUTH_FIRST_PROBE_S = 5.0
RECONCILE_AGAIN_S = 2.0
# An idempotent edit that should settle a part is tried this long before the part is sent again.
EDIT_PROOF_S = 600.0
# A message the provider accepted is recorded even if storage needs a few tries.
RECORD_TRIES_MAX = 5


class Sender:
    """Sends single parts and files the outcome."""

    def __init__(
        self,
        outbox: Outbox,
        owner: str,
        clock: Clock,
        config: DeliveryConfig,
        limiter: Limiter,
        report: Report | None = None,
    ) -> None:
        self._outbox = outbox
        self._owner = owner
        self._clock = clock
        self._config = config
        self._limiter = limiter
        self._report = report
        # Quotes that the provider refused: sent again as a plain reply.
        self._unquoted: OrderedDict[str, None] = OrderedDict()
        # Accounts whose credentials fail, and when they are tried again.
        self.paused: dict[tuple[str, str], float] = {}
        self._auth_waits: dict[tuple[str, str], float] = {}

    async def send(self, channel: Channel, entry: OutboxEntry, part: StoredPart) -> float | None:
        """One attempt. The state `sending` commits before the request leaves."""
        attempt = await self._outbox.sending(part.id, self._owner, self._config.lease_s)
        self._limiter.take(entry.address, channel.capabilities, "send", self._clock.time())
        try:
            if entry.kind == "invitation":
                receipt = await _invite(channel, entry, part)
            else:
                receipt = await channel.send(
                    entry.address,
                    part.rendered,
                    reply_to=self._reply(entry, part),
                    buttons=entry.buttons if part.index == part.count - 1 else (),
                    part_id=part.id,
                )
        except DeliveryError as error:
            return await self._refused(channel, entry, part, attempt, error)
        except Exception as error:
            # A fault of the adapter: the request may have left.
            logger.exception("send of part %s failed unexpectedly", part.id)
            return await self._refused(channel, entry, part, attempt, Ambiguous(repr(error)))
        await self._record(part, receipt)
        if self.paused.pop((channel.name, channel.account), None) is not None:
            self._auth_waits.pop((channel.name, channel.account), None)
            await self._tell(channel, "up", "")
        return None

    async def reconcile(
        self, channel: Channel, entry: OutboxEntry, part: StoredPart
    ) -> float | None:
        """Settle an uncertain send: by proof, by an idempotent edit, else by a labelled repeat."""
        now = self._clock.time()
        since = part.started_at if part.started_at is not None else now
        proof: Receipt | str
        asked, answered = _question(channel, entry, since), "can't be told"
        try:
            proof = await channel.find_sent(
                entry.address, part.rendered, since=since, part_id=part.id
            )
        except DeliveryError as error:
            if isinstance(error, Throttled):
                await self._learn(entry, error)
            proof, answered = "unknown", f"no answer: {error}"
        if isinstance(proof, Receipt):
            found = f"found at the provider as {proof.message_id}"
            await self._outbox.evidence(
                part.id, f"{found}; not sent again", asked=asked, answered=found
            )
            await self._record(part, proof)
            return None
        if part.attempts >= self._config.attempts_max:
            given_up = f"{OUTCOME_UNKNOWN}, no tries left"
            await self._outbox.evidence(
                part.id, f"{given_up}; left to an operator", asked=asked, answered=answered
            )
            await self._outbox.failed(part.id, error=given_up)
            return None
        # A template's words are the provider's: not finding ours in the list proves nothing.
        if proof == "absent" and entry.kind != "invitation":
            await self._outbox.evidence(
                part.id,
                "proven absent at the provider; sent again",
                asked=asked,
                answered="no such message",
            )
            await self._later(part, now, "proven absent")
            return None
        if not channel.capabilities.can_edit and now - since < self._config.reconcile_s:
            return now + RECONCILE_AGAIN_S
        if entry.kind == "invitation":  # a second one would be worse than none
            await self._outbox.evidence(
                part.id, "an invitation is never repeated", asked=asked, answered=answered
            )
            await self._outbox.failed(part.id, error=f"{OUTCOME_UNKNOWN}; not repeated")
            return None
        status = await self._status(entry, part)
        if status and now - since < EDIT_PROOF_S:
            again, settled = await self._edit_status(channel, entry, part, status)
            if settled or again:
                return again
        await self._outbox.evidence(
            part.id,
            "no proof of either outcome; sent again, labelled",
            asked=asked,
            answered=answered,
        )
        await self._outbox.replan(part.id, labelled(part.rendered))
        await self._later(part, now, "outcome unknown")
        return None

    # Outcomes --------------------------------------------------------------------------------

    async def _refused(
        self,
        channel: Channel,
        entry: OutboxEntry,
        part: StoredPart,
        attempt: int,
        error: DeliveryError,
    ) -> float | None:
        now = self._clock.time()
        spent = attempt >= self._config.attempts_max
        too_old = now - entry.created_at >= self._config.give_up_s
        match error:
            case Ambiguous():
                await self._outbox.ambiguous(
                    part.id, error=str(error), code=error.code, http_status=error.http_status
                )
                return None
            case Throttled() if not too_old:
                return await self._later(part, now + await self._learn(entry, error), error)
            case WindowClosed() if not too_old and entry.kind != "invitation":
                # Storage wakes it when the person writes again.
                invitation = channel.capabilities.invitation
                until = now + self._config.hold_s
                return await self._later(part, until, error, held=True, invitation=invitation)
            case AuthBroken() if not too_old:
                until = now + self._auth_wait(channel)
                self.paused[channel.name, channel.account] = until
                await self._tell(channel, "auth_error", str(error))
                return await self._later(part, until, error)
            case ChatMigrated() if not spent:
                await self._later(part, now, error)
                await self._outbox.moved(entry.address, error.new_chat)
                return None
            case RenderRejected() if not spent and await self._plainer(entry, part, error):
                await self._later(part, now, error)
                return None
            case NotSent() if not spent:
                return await self._later(part, now + self._backoff(attempt), error)
        await self._outbox.failed(
            part.id, error=str(error), code=error.code, http_status=error.http_status
        )
        return None

    async def _plainer(self, entry: OutboxEntry, part: StoredPart, error: RenderRejected) -> bool:
        """Give up the least that the provider objects to: the quote, the reply, the formatting."""
        reply = self._reply(entry, part)
        if error.code == "quote" and reply and reply.quote:
            self._remember(self._unquoted, part.id, None)
        elif part.rendered.entities and error.code not in ("quote", "reply"):
            await self._outbox.replan(part.id, plainer(part.rendered))
        elif reply:
            await self._outbox.replan(part.id, part.rendered, drop_reply=True)
        else:
            return False
        return True

    async def _later(
        self,
        part: StoredPart,
        at: float,
        error: DeliveryError | str,
        *,
        held: bool = False,
        invitation: str = "",
    ) -> float:
        code = error.code if isinstance(error, DeliveryError) else ""
        status = error.http_status if isinstance(error, DeliveryError) else 0
        await self._outbox.not_sent(
            part.id,
            retry_at=at,
            error=str(error),
            code=code,
            http_status=status,
            held=held,
            invitation=invitation,
        )
        return at

    async def _record(self, part: StoredPart, receipt: Receipt) -> None:
        """Commit the proof; only after several failures leave the part to reconciliation."""
        self._unquoted.pop(part.id, None)
        for tries in range(1, RECORD_TRIES_MAX + 1):
            try:
                return await self._outbox.sent(part.id, receipt.message_id)
            except Exception:
                if tries == RECORD_TRIES_MAX:
                    raise
                logger.exception("receipt of part %s not stored, trying again", part.id)
                await self._clock.sleep(0.2 * tries)

    # Reconciliation by the status message -----------------------------------------------------

    async def _status(self, entry: OutboxEntry, part: StoredPart) -> StatusMessage | None:
        """The status message that may become this part, if its turn still shows one."""
        if not entry.turn_id or part.index or entry.kind != "answer":
            return None
        status = await self._outbox.status_message(entry.turn_id)
        if status is None or status.message_id is None:
            return None
        return status if status.state == "open" or status.shown == _taken(part) else None

    async def _edit_status(
        self, channel: Channel, entry: OutboxEntry, part: StoredPart, status: StatusMessage
    ) -> tuple[float | None, bool]:
        """Commit the part by an edit that may be repeated at will: (when again, settled)."""
        assert status.message_id is not None
        now = self._clock.time()
        if wait := self._limiter.wait_s(entry.address, channel.capabilities, "edit", now):
            return now + wait, False
        # Claimed first, so that no janitor removes the answer.
        await self._outbox.put_status_message(
            replace(status, state="closed", shown=_taken(part), edited_at=now)
        )
        self._limiter.take(entry.address, channel.capabilities, "edit", now)
        answered = "edited"
        try:
            await channel.edit(
                entry.address,
                status.message_id,
                labelled(part.rendered),
                buttons=entry.buttons if part.count == 1 else (),
            )
        except NotModified:
            answered = "not modified: it reads so already"
        except EditTargetMissing:
            return None, False
        except Throttled as error:
            return now + await self._learn(entry, error), False
        except DeliveryError:
            return now + RECONCILE_AGAIN_S, False
        await self._outbox.evidence(
            part.id,
            f"no proof of either outcome; the status message {status.message_id} became it",
            asked=f"{channel.name}: show this text, labelled, in message {status.message_id}",
            answered=answered,
        )
        await self._record(part, Receipt(status.message_id))
        return None, True

    # Small parts -----------------------------------------------------------------------------

    def _reply(self, entry: OutboxEntry, part: StoredPart) -> ReplyTarget | None:
        if part.index or entry.reply_to is None:
            return None
        if part.id in self._unquoted:
            return replace(entry.reply_to, quote="", utf16_start=None)
        return entry.reply_to

    async def _learn(self, entry: OutboxEntry, error: Throttled) -> float:
        now = self._clock.time()
        return await learn(self._limiter, self._outbox, entry.address, error.retry_after_s, now)

    def _backoff(self, attempt: int) -> float:
        """1, 3, 9, … times `retry_s`, never more than `retry_max_s`."""
        return float(min(self._config.retry_s * 3 ** (attempt - 1), self._config.retry_max_s))

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


def _question(channel: Channel, entry: OutboxEntry, since: float) -> str:
    """What is asked of the provider about an uncertain send, for operators."""
    at = datetime.fromtimestamp(since, UTC).strftime("%H:%M:%S UTC")
    return f"{channel.name}: was this text sent to {entry.address.chat} since {at}?"


def _taken(part: StoredPart) -> str:
    """What a status message shows once it has become a part."""
    return f"answer:{part.id}"
