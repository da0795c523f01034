"""Settles a send of unknown outcome: by proof, by an idempotent edit, or by a labelled repeat.

This file decides whether a part in doubt is sent again. Each conclusion is written down with what
it rests on.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from roost_channels.channel import Channel, Outgoing
from roost_channels.delivery.edits import LATE_EDIT_S, edits_in_place
from roost_channels.delivery.ledger import Ledger
from roost_channels.errors import DeliveryError, EditTargetMissing, Failure, NotModified, Throttled
from roost_channels.message import Receipt
from roost_channels.outbox import OutboxEntry, StatusMessage, StoredPart
from roost_channels.rendering.parts import labelled

SETTLE_AGAIN_S = 2.0
# An idempotent edit that should settle a part is tried this long before the part is sent again.
EDIT_PROOF_S = 600.0


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What the provider was asked about a part in doubt, and what it answered.

    proof: a receipt proves that the part was sent, `absent` that it was not.
    asked, answered: the same in words, for operators.
    """

    proof: Receipt | Literal["absent", "unknown"]
    asked: str
    answered: str


class Settler:
    """Settles ambiguous parts; a lane calls `settle` while it holds the chat.

    Another courier may do the same: each conclusion names its attempt, and the first one counts.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def settle(self, channel: Channel, entry: OutboxEntry, part: StoredPart) -> float | None:
        """Settle one part in doubt, as far as that is possible now.

        Returns the time before which the lane has nothing to do, None for at once.
        """
        config, now = self._ledger.config, self._ledger.clock.time()
        if edits_in_place(channel, entry) and part.attempts < config.attempts_max:
            await self._ledger.outbox.evidence(
                part.id, "an edit may be repeated: made again", attempt=part.attempts
            )
            await self._ledger.try_later(part, now, "outcome unknown")
            return None
        since = part.started_at if part.started_at is not None else now
        age_s = self._ledger.passed.since(since)
        inquiry = await self._inquire(channel, entry, part, since)
        if isinstance(inquiry.proof, Receipt):
            conclusion = f"{inquiry.answered}; not sent again"
            await self._write_down(part, inquiry, conclusion)
            await self._ledger.record(part, inquiry.proof)
            return None
        is_invitation = entry.kind == "invitation"
        if part.attempts >= config.attempts_max:
            error = "outcome unknown, no tries left"
            await self._give_up(part, inquiry, f"{error}; left to an operator", error)
            return None
        # A template's words are the provider's: not finding ours in the list proves nothing.
        if inquiry.proof == "absent" and not is_invitation:
            what = "not sent again, as it was stopped" if entry.is_dropped else "sent again"
            await self._write_down(part, inquiry, f"proven absent at the provider; {what}")
            await self._ledger.try_later(part, now, "proven absent")
            return None
        if not channel.capabilities.can_edit and age_s < config.reconcile_s:
            return now + SETTLE_AGAIN_S
        if is_invitation:  # a second one would be worse than none
            error = "outcome unknown; not repeated"
            await self._give_up(part, inquiry, "an invitation is never repeated", error)
            return None
        status = await self._status_to_edit(entry, part)
        # One that was tried long ago, before storage or the process went away, is tried once more:
        # else the status message stays, as nobody knows whether it is the answer.
        if status and (
            age_s < EDIT_PROOF_S
            or (status.answer_part_id == part.id and now - status.edited_at >= EDIT_PROOF_S)
        ):
            again, is_settled = await self._edit_status(channel, entry, part, status)
            if is_settled or again:
                return again
        if entry.is_dropped:
            conclusion = "no proof of either outcome; not sent again, as it was stopped"
            await self._write_down(part, inquiry, conclusion)
            await self._ledger.try_later(part, now, "outcome unknown")
            return None
        await self._repeat(part, inquiry, now)
        return None

    async def _inquire(
        self, channel: Channel, entry: OutboxEntry, part: StoredPart, since: float
    ) -> Inquiry:
        """Ask the provider whether it has the part."""
        at = datetime.fromtimestamp(since, UTC).strftime("%H:%M:%S UTC")
        asked = f"{channel.name}: was this text sent to {entry.address.chat} since {at}?"
        try:
            buttons = entry.buttons if part.index == part.count - 1 else ()
            proof = await channel.find_sent(
                Outgoing(entry.address, part.rendered, buttons=buttons, part_id=part.id),
                since=since,
            )
        except DeliveryError as error:
            if isinstance(error, Throttled):
                await self._ledger.learn_wait(entry.address, error)
            return Inquiry("unknown", asked, f"no answer: {error}")
        if isinstance(proof, Receipt):
            return Inquiry(proof, asked, f"found at the provider as {proof.message_id}")
        return Inquiry(proof, asked, "no such message" if proof == "absent" else "can't be told")

    async def _write_down(self, part: StoredPart, inquiry: Inquiry, conclusion: str) -> None:
        await self._ledger.outbox.evidence(
            part.id,
            conclusion,
            asked=inquiry.asked,
            answered=inquiry.answered,
            attempt=part.attempts,
        )

    async def _give_up(
        self, part: StoredPart, inquiry: Inquiry, conclusion: str, error: str
    ) -> None:
        """Leave a part in doubt to operators: nobody could prove either outcome."""
        await self._write_down(part, inquiry, conclusion)
        await self._ledger.outbox.failed(
            part.id, Failure(error), reason="outcome_unknown", attempt=part.attempts
        )

    async def _repeat(self, part: StoredPart, inquiry: Inquiry, now: float) -> None:
        """Plan the part once more, with the label of a possible repeat."""
        ledger = self._ledger
        await self._write_down(part, inquiry, "no proof of either outcome; sent again, labelled")
        await ledger.outbox.replan(part.id, labelled(part.rendered), attempt=part.attempts)
        # The first repeat goes at once. Repeats that get lost too keep their distance, or a network
        # that breaks for some seconds would use up every try.
        wait_s = ledger.backoff_s(part.attempts - 1) if part.attempts > 1 else 0.0
        await ledger.try_later(part, now + wait_s, "outcome unknown")

    async def _status_to_edit(self, entry: OutboxEntry, part: StoredPart) -> StatusMessage | None:
        """The status message that may become this part, if its turn still shows one."""
        if not entry.turn_id or part.index or entry.kind != "answer" or part.rendered.media:
            return None  # a text can't be edited into a file
        outbox = self._ledger.outbox
        status = await outbox.status_message(entry.turn_id)
        if status is None or status.message_id is None:
            return None
        if status.answer_part_id == part.id:
            return status
        if self._ledger.passed.since(status.late_until - LATE_EDIT_S) < LATE_EDIT_S:
            return None  # an earlier edit may yet arrive, and hide the answer
        # The status message must be the last one in the chat: else the answer stands out of order.
        if status.state != "open" or await outbox.overtaken(entry.turn_id):
            return None
        return status

    async def _edit_status(
        self, channel: Channel, entry: OutboxEntry, part: StoredPart, status: StatusMessage
    ) -> tuple[float | None, bool]:
        """Commit the part by an edit that may be repeated at will: (when again, is settled)."""
        assert status.message_id is not None
        ledger, now = self._ledger, self._ledger.clock.time()
        if ledger.stop.is_set():
            return now + SETTLE_AGAIN_S, False
        if wait := ledger.limiter.wait_s(entry.address, channel.capabilities, "edit", now):
            return now + wait, False
        # Claimed first, so that no janitor removes the answer.
        await ledger.outbox.put_status_message(
            replace(
                status,
                state="closed",
                left_at=0.0,
                shown=labelled(part.rendered).text,
                answer_part_id=part.id,
                edited_at=now,
            )
        )
        if ledger.stop.is_set():
            return now + SETTLE_AGAIN_S, False
        ledger.limiter.take(entry.address, channel.capabilities, "edit", now)
        answered = "edited"
        try:
            await channel.edit(
                status.message_id,
                Outgoing(
                    entry.address,
                    labelled(part.rendered),
                    buttons=entry.buttons if part.count == 1 else (),
                ),
            )
        except NotModified:
            answered = "not modified: it reads so already"
        except EditTargetMissing:
            return None, False
        except Throttled as error:
            return now + await ledger.learn_wait(entry.address, error), False
        except DeliveryError:
            return now + SETTLE_AGAIN_S, False
        asked = f"{channel.name}: show this text, labelled, in message {status.message_id}"
        await self._write_down(
            part,
            Inquiry("unknown", asked, answered),
            f"no proof of either outcome; the status message {status.message_id} became it",
        )
        await ledger.record(part, Receipt(status.message_id))
        return None, True
