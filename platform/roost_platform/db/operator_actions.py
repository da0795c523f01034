"""What operators do to conversations and deliveries: reply, try again, fork, send again."""

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost.agent import QUEUE_MODES, QueueMode
from roost_channels.rendering.parts import labelled
from roost_platform.commands import PROGRESS_DEFAULT, PROGRESS_MEANINGS, QUEUE_DEFAULT
from roost_platform.db import models
from roost_platform.db.attempts.forking import Forked, fork
from roost_platform.db.attempts.retrying import Retried, retry
from roost_platform.db.audit import audit
from roost_platform.db.base.engine import Database
from roost_platform.db.base.text import clean
from roost_platform.db.cards.cards import is_decided_card
from roost_platform.db.conversations.sessions import current_session
from roost_platform.db.conversations.settings import ProgressModes, choose_progress, choose_queue
from roost_platform.db.enqueue import enqueue
from roost_platform.db.locks import lock_conversation
from roost_platform.db.outbox.evidence import is_in_doubt, record_look
from roost_platform.db.outbox.part_states import conclude, note, rendered_of
from roost_platform.db.turns.transcript import append
from roost_platform.errors import NotAllowed, NotFound
from roost_platform.queueing import QueueRules

REDRIVEN = ("failed", "expired", "ambiguous")


class OperatorActions:
    """Each action is one audited transaction."""

    def __init__(
        self,
        database: Database,
        queueing: QueueRules | None = None,
        progress_modes: ProgressModes | None = None,
    ) -> None:
        self._database = database
        self._progress_modes = progress_modes or {}
        self._queueing = queueing or QueueRules()

    async def say(self, conversation_id: str, text: str, operator: str, ip: str = "") -> str:
        """Answer in the agent's place, in transcript and outbox; returns the outbox id."""
        reply = clean(text).strip()
        if not reply:
            raise NotAllowed("An empty reply can't be sent.")
        async with self._database.write() as session:
            conversation = await lock_conversation(session, conversation_id)
            now = self._database.now()
            chat_session = await current_session(session, conversation, now)
            await session.flush()
            row = models.Transcript(
                turn_id=None, role="operator", content=reply, name=operator, created_at=now
            )
            await append(session, chat_session, [row])
            outbox_id = await enqueue(
                session,
                conversation,
                kind="answer",
                body=reply,
                dedupe_key=f"operator:{row.id}",
                now=now,
            )
            detail = {"outbox_id": outbox_id, "characters": len(reply)}
            await audit(session, now, operator, "conversation.reply", conversation_id, detail, ip)
            return outbox_id

    async def set_queue(
        self, conversation_id: str, word: str, operator: str, ip: str = ""
    ) -> QueueMode:
        """Set a conversation's queue mode, `default` for the channel's; returns the mode now."""
        if word not in (*QUEUE_MODES, QUEUE_DEFAULT):
            raise NotAllowed(f"There is no queue mode {word!r}.")
        async with self._database.write() as session:
            conversation = await lock_conversation(session, conversation_id)
            choose_queue(conversation, word, self._queueing)
            now = self._database.now()
            await audit(
                session, now, operator, "conversation.queue", conversation_id, {"mode": word}, ip
            )
            return self._queueing.mode_of(conversation)

    async def set_progress(
        self, conversation_id: str, word: str, operator: str, ip: str = ""
    ) -> str:
        """Set what a conversation sees of work in progress; returns the words that say so."""
        if word not in (*PROGRESS_MEANINGS, PROGRESS_DEFAULT):
            raise NotAllowed(f"There is no progress mode {word!r}.")
        async with self._database.write() as session:
            conversation = await lock_conversation(session, conversation_id)
            confirmation = choose_progress(conversation, word, self._progress_modes)
            now = self._database.now()
            detail = {"mode": word}
            await audit(
                session, now, operator, "conversation.progress", conversation_id, detail, ip
            )
            return confirmation

    async def redrive(self, part_or_outbox_id: str, operator: str, ip: str = "") -> str:
        """Give a dead letter new attempts; parts that arrived stay. Returns the outbox id.

        What may have arrived already is sent with the label of a possible repeat.
        """
        async with self._database.write() as session:
            entry, parts = await self._find(session, part_or_outbox_id)
            again = [part for part in parts if part.state in REDRIVEN]
            if not again and entry.state != "failed":
                raise NotAllowed(
                    "Only a failed or uncertain message can be sent again; "
                    f"this one is {entry.state}."
                )
            now = self._database.now()
            if await is_decided_card(session, entry.id):
                raise NotAllowed("This card's question is decided: its buttons would do nothing.")
            for part in again:
                line = f"Sent again by {operator}."
                if is_in_doubt(part):
                    part.rendered = asdict(labelled(rendered_of(part.rendered)))
                    part.duplicate_label = True
                    line = f"Sent again by {operator}, labelled as a possible repeat."
                part.state, part.attempts, part.receipt = "planned", 0, ""
                part.message_id, part.error, part.reason_code = None, "", ""
                note(part, line, now)
            await session.execute(
                update(models.Part)
                .where(models.Part.outbox_id == entry.id, models.Part.state != "sent")
                .values(next_at=now)
                .execution_options(synchronize_session=False)
            )
            entry.state, entry.finished_at, entry.next_at = "pending", None, now
            entry.dropped_at = None  # an operator wants it sent, even if the person stopped it
            await audit(session, now, operator, "delivery.redrive", entry.id, {}, ip)
            return entry.id

    async def confirm(self, part_or_outbox_id: str, operator: str, ip: str = "") -> str:
        """Record that an operator knows that the parts in doubt arrived; they are not sent again.

        Returns the outbox id.
        """
        async with self._database.write() as session:
            entry, parts = await self._find(session, part_or_outbox_id)
            known = [part for part in parts if is_in_doubt(part)]
            if not known:
                raise NotAllowed("Nothing is uncertain about this message.")
            now = self._database.now()
            for part in known:
                part.state, part.sent_at, part.error, part.lease_until = "sent", now, "", None
                part.reason_code = ""
                await record_look(
                    session,
                    part,
                    now,
                    kind="operator",
                    asked="did it arrive?",
                    answered=f"yes, says {operator}",
                    concluded=f"{operator} knows that it arrived; not sent again",
                )
            await conclude(session, entry, now)
            await audit(session, now, operator, "delivery.confirm", entry.id, {}, ip)
            return entry.id

    async def retry(self, turn_id: str, operator: str, ip: str = "") -> Retried:
        """Have a failed turn tried again; see `retrying.retry`."""
        async with self._database.write() as session:
            now = self._database.now()
            retried = await retry(session, turn_id, operator, now)
            detail = {"conversation_id": retried.conversation_id, "retries": retried.retries}
            await audit(session, now, operator, "turn.retry", turn_id, detail, ip)
            return retried

    async def fork(self, turn_id: str, at: int, operator: str, ip: str = "") -> Forked:
        """Begin a new run of a flow at a step of an earlier one; see `forking.fork`."""
        async with self._database.write() as session:
            now = self._database.now()
            forked = await fork(session, turn_id, at, now)
            detail = {"at": at, "new_turn_id": forked.turn_id, "kept": forked.kept}
            await audit(session, now, operator, "flow.fork", turn_id, detail, ip)
            return forked

    async def _find(
        self, session: AsyncSession, part_or_outbox_id: str
    ) -> tuple[models.Outbox, Sequence[models.Part]]:
        """Lock a message and its parts; raises NotFound."""
        by_part = select(models.Part.outbox_id).where(models.Part.id == part_or_outbox_id)
        entry = await session.scalar(
            select(models.Outbox)
            .where(or_(models.Outbox.id == part_or_outbox_id, models.Outbox.id.in_(by_part)))
            .with_for_update()
        )
        if entry is None:
            raise NotFound(f"No delivery {part_or_outbox_id}.")
        parts = await session.scalars(
            select(models.Part)
            .where(models.Part.outbox_id == entry.id)
            .order_by(models.Part.position)
            .with_for_update()
        )
        return entry, parts.all()
