"""Settling a send whose outcome is unknown: by proof, by an idempotent edit, else by a labelled
repeat. Each conclusion is written down with what it rests on.
"""

from dataclasses import replace
from datetime import UTC, datetime

from roost_channels.channel import Channel
from roost_channels.delivery.ledger import Filing
from roost_channels.errors import DeliveryError, EditTargetMissing, NotModified, Throttled
from roost_channels.message import Receipt
from roost_channels.outbox import OutboxEntry, StatusMessage, StoredPart
from roost_channels.rendering.parts import labelled

RECONCILE_AGAIN_S = 2.0
# An idempotent edit that should settle a part is tried this long before the part is sent again.
EDIT_PROOF_S = 600.0


class Reconciler(Filing):
    """Settles ambiguous parts; a lane calls `reconcile` while it holds the chat."""

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
            given_up = "outcome unknown, no tries left"
            await self._outbox.evidence(
                part.id, f"{given_up}; left to an operator", asked=asked, answered=answered
            )
            await self._outbox.failed(part.id, error=given_up, reason="outcome_unknown")
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
            await self._outbox.failed(
                part.id, error="outcome unknown; not repeated", reason="outcome_unknown"
            )
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
        # The first repeat goes at once. Repeats that get lost too keep their distance, or a network
        # that breaks for some seconds would use up every try.
        wait_s = self._backoff(part.attempts - 1) if part.attempts > 1 else 0.0
        await self._later(part, now + wait_s, "outcome unknown")
        return None

    # Reconciliation by the status message -----------------------------------------------------

    async def _status(self, entry: OutboxEntry, part: StoredPart) -> StatusMessage | None:
        """The status message that may become this part, if its turn still shows one."""
        if not entry.turn_id or part.index or entry.kind != "answer" or part.rendered.media:
            return None  # a text can't be edited into a file
        status = await self._outbox.status_message(entry.turn_id)
        if status is None or status.message_id is None:
            return None
        if status.answer_part_id == part.id:
            return status
        if self._clock.time() < status.late_until:
            return None  # an earlier edit may yet arrive, and hide the answer
        # Above a message that came later it would be an answer out of its order.
        if status.state != "open" or await self._outbox.overtaken(entry.turn_id):
            return None
        return status

    async def _edit_status(
        self, channel: Channel, entry: OutboxEntry, part: StoredPart, status: StatusMessage
    ) -> tuple[float | None, bool]:
        """Commit the part by an edit that may be repeated at will: (when again, settled)."""
        assert status.message_id is not None
        now = self._clock.time()
        if self._stop.is_set():
            return now + RECONCILE_AGAIN_S, False
        if wait := self._limiter.wait_s(entry.address, channel.capabilities, "edit", now):
            return now + wait, False
        # Claimed first, so that no janitor removes the answer.
        await self._outbox.put_status_message(
            replace(
                status,
                state="closed",
                shown=labelled(part.rendered).text,
                answer_part_id=part.id,
                edited_at=now,
            )
        )
        if self._stop.is_set():
            return now + RECONCILE_AGAIN_S, False
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


def _question(channel: Channel, entry: OutboxEntry, since: float) -> str:
    """What is asked of the provider about an uncertain send, for operators."""
    at = datetime.fromtimestamp(since, UTC).strftime("%H:%M:%S UTC")
    return f"{channel.name}: was this text sent to {entry.address.chat} since {at}?"
