"""The entrance of every inbound event: commit it, then ring the session's workflow."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from uuid_utils import uuid7

from roost_channels.console.config import ACCOUNT, CHANNEL
from roost_channels.intake import Accepted, DeliveryReceipt
from roost_channels.message import Address, InboundMessage, Quote, Sender
from roost_inference.client.sessions import EngineSession
from roost_platform.db.inbox.shares import shares_of
from roost_platform.db.outbox.quote_lookup import find_quote
from roost_platform.db.people.people import Decision
from roost_platform.db.people.tenants import SessionChanges
from roost_platform.db.stores import Stores
from roost_platform.db.turns.stop import Stopped
from roost_platform.db.waits.store import OperatorDecision, OperatorVerdict
from roost_workflows.hints.session_hints import NoHints, SessionHints
from roost_workflows.names import (
    SIGNAL_RING,
    SIGNAL_STOP,
    TASK_QUEUE,
    WORKFLOW_TYPE,
    workflow_id,
)
from roost_workflows.state import SessionInput

RINGS_MAX = 200  # doorbells under way; beyond that the sweeper rings
RING_TIMEOUT_S = 5.0
SHARE_PAUSE_S = 0.01  # between two shares of a large batch: other writers get their turn

log = logging.getLogger(__name__)


class Doorbell(Protocol):
    """Tells a session that work waits. A ring carries no content and may come twice or never."""

    async def ring(self, conversation_id: str) -> None:
        """Let the conversation's workflow look for work."""
        ...

    async def stop(self, conversation_id: str) -> None:
        """Let the conversation's workflow look for a recorded stop."""
        ...


class TemporalDoorbell:
    """Rings by signal-with-start of the session's workflow.

    task_queue: where the workers look for work.
    """

    def __init__(self, client: Client, task_queue: str = TASK_QUEUE) -> None:
        self._client = client
        self._task_queue = task_queue

    async def ring(self, conversation_id: str) -> None:
        """Signal `ring`, starting the workflow when none runs."""
        await self._signal(conversation_id, SIGNAL_RING)

    async def stop(self, conversation_id: str) -> None:
        """Signal `stop`, starting the workflow when none runs."""
        await self._signal(conversation_id, SIGNAL_STOP)

    async def end(self, conversation_id: str) -> None:
        """Terminate the workflow's run if one is open; the next ring starts another."""
        handle = self._client.get_workflow_handle(workflow_id(conversation_id))
        try:
            await handle.terminate("no progress", rpc_timeout=timedelta(seconds=RING_TIMEOUT_S))
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise

    async def _signal(self, conversation_id: str, signal: str) -> None:
        await self._client.start_workflow(
            WORKFLOW_TYPE,
            SessionInput(conversation_id),
            id=workflow_id(conversation_id),
            task_queue=self._task_queue,
            start_signal=signal,
            rpc_timeout=timedelta(seconds=RING_TIMEOUT_S),
        )


@dataclass(frozen=True, slots=True)
class Submitted:
    """A message accepted through `say`. `inbox_id` is empty for a redelivery."""

    inbox_id: str
    conversation_id: str


class PlatformIntake:
    """Implements `roost_channels.intake.Intake`; the console, the API and the CLI enter here as
    well.

    hints: where the engine hears which sessions go on and which have ended.
    """

    def __init__(
        self, stores: Stores, doorbell: Doorbell, hints: SessionHints | None = None
    ) -> None:
        self._stores = stores
        self._hints = hints or NoHints()
        self._doorbell = doorbell
        self._rings: set[asyncio.Task[None]] = set()
        stores.database.bell = self._announce

    async def accept(
        self,
        channel: str,
        account: str,
        batch: Sequence[InboundMessage],
        *,
        cursor: int | None = None,
    ) -> Accepted:
        """See `Intake.accept`.

        A large batch is committed share by share, the cursor with the last. What is committed rings
        at once; a failure later leaves the rest to the provider's next delivery.
        """
        stored, duplicates, answers = 0, 0, dict[str, str]()
        shares = list(shares_of(batch))
        for number, share in enumerate(shares, 1):
            is_last = number == len(shares)
            accepted = await self._stores.inbox.accept(
                channel, account, share, cursor=cursor if is_last else None
            )
            self._give_hints(accepted.changes)
            self._announce(list(accepted.stop), list(accepted.ring))
            stored, duplicates = stored + accepted.stored, duplicates + accepted.duplicates
            answers |= accepted.answers
            if not is_last:
                await asyncio.sleep(SHARE_PAUSE_S)
        return Accepted(stored, duplicates, answers)

    async def say(
        self,
        session_name: str,
        text: str,
        *,
        sender: Sender | None = None,
        agent: str | None = None,
        message_id: str = "",
        quote: Quote | None = None,
    ) -> Submitted:
        """Accept a message of the console, the API or the CLI, once by `message_id`."""
        address = Address(CHANNEL, ACCOUNT, session_name)
        message_id = message_id or str(uuid7())
        message = InboundMessage(
            address=address,
            event_id=f"{session_name}:{message_id}",
            message_id=message_id,
            sender=sender or Sender("local", "You"),
            text=text,
            sent_at=self._stores.database.now(),
            quote=quote,
        )
        accepted = await self._stores.inbox.accept(
            address.channel, address.account, [message], agent=agent
        )
        self._give_hints(accepted.changes)
        self._announce(list(accepted.stop), list(accepted.ring))
        conversation_id = await self._stores.queries.conversation_id(address.key)
        assert conversation_id is not None  # accepted above
        return Submitted(accepted.ids[0] if accepted.ids else "", conversation_id)

    async def request_stop(self, conversation_id: str, by: str, ip: str = "") -> Stopped:
        """Stop what runs in a conversation, as `/stop` in the chat does."""
        stopped = await self._stores.request_stop(conversation_id, by, ip)
        self._announce(stopped.runs, [])
        return stopped

    def ring(self, conversations: Sequence[str]) -> None:
        """Ring conversations that can go on; the calls run beside the caller."""
        self._announce([], conversations)

    def forget(self, sessions: Sequence[EngineSession]) -> None:
        """Have the engine end these sessions and let go of their KV."""
        for session in sessions:
            self._hints.ended(session)

    async def approve(self, code_or_id: str, by: str, ip: str = "") -> Decision:
        """Admit a person and have their held messages answered."""
        decision = await self._stores.people.approve(code_or_id, by, ip)
        self._announce([], list(decision.conversations))
        return decision

    async def decide(
        self,
        approval_id: str,
        verdict: OperatorVerdict,
        reason: str,
        operator: str,
        via: str,
        ip: str = "",
    ) -> OperatorDecision:
        """Decide an approval as an operator and let its call go on. See `decide_as_operator`."""
        waits = self._stores.waits
        decision = await waits.decide_as_operator(approval_id, verdict, reason, operator, via, ip)
        self.ring(decision.rung)
        return decision

    async def answer(
        self, approval_id: str, answers: Sequence[str], operator: str, via: str, ip: str = ""
    ) -> OperatorDecision:
        """Answer a question as an operator and let its call go on. See `answer_as_operator`."""
        waits = self._stores.waits
        decision = await waits.answer_as_operator(approval_id, answers, operator, via, ip)
        self.ring(decision.rung)
        return decision

    async def link(self, person_id: str, other_id: str, by: str, ip: str = "") -> Decision:
        """Make two people one and have messages answered that were held of either."""
        decision = await self._stores.people.link(person_id, other_id, by, ip)
        self._announce([], list(decision.conversations))
        return decision

    async def cursor(self, channel: str, account: str) -> int | None:
        """See `Intake.cursor`."""
        view = await self._stores.channels.get(channel, account)
        return None if view is None else view.cursor

    async def unseen(self, channel: str, account: str, event_ids: Sequence[str]) -> frozenset[str]:
        """See `Intake.unseen`."""
        return await self._stores.inbox.unseen(channel, account, event_ids)

    async def resolve_quote(self, channel: str, account: str, chat: str, ref: str) -> Quote | None:
        """See `Intake.resolve_quote`."""
        async with self._stores.database.read() as session:
            return await find_quote(session, channel, account, chat, ref)

    async def channel_state(self, channel: str, account: str, state: str, detail: str = "") -> None:
        """See `Intake.channel_state`."""
        await self._stores.channels.set(channel, account, state, detail)

    async def receipt(self, channel: str, account: str, receipt: DeliveryReceipt) -> None:
        """See `Intake.receipt`."""
        await self._stores.receipts.record(channel, account, receipt)

    def _give_hints(self, changes: SessionChanges) -> None:
        """Hint after the commit and before the doorbell: the KV is loaded while the turn begins."""
        for session in changes.ended:
            self._hints.ended(session)
        for session in changes.continuing:
            self._hints.continues(session)

    # Doorbells ring after the commit: a ring that fails loses nothing, the sweeper rings again.

    def _announce(self, stops: Sequence[str], rings: Sequence[str]) -> None:
        for conversation_id in stops:
            self._start(self._doorbell.stop(conversation_id), conversation_id)
        for conversation_id in rings:
            self._start(self._doorbell.ring(conversation_id), conversation_id)

    def _start(self, ringing: Coroutine[Any, Any, None], conversation_id: str) -> None:
        if len(self._rings) >= RINGS_MAX:
            ringing.close()
            log.warning("too many doorbells under way; the sweeper will ring %s", conversation_id)
            return
        task = asyncio.create_task(ring_quietly(ringing, conversation_id))
        self._rings.add(task)
        task.add_done_callback(self._rings.discard)

    async def drain(self) -> None:
        """Wait until every doorbell under way has rung or failed."""
        while self._rings:
            await asyncio.wait(self._rings)

    async def close(self) -> None:
        """Cancel the doorbells under way; the sweeper rings what was missed."""
        for task in self._rings:
            task.cancel()
        await self.drain()


async def ring_quietly(ringing: Coroutine[Any, Any, None], conversation_id: str) -> None:
    """Ring; a ring that fails loses nothing, as the sweeper rings again."""
    try:
        await ringing
    except Exception as error:
        log.warning("could not ring %s, the sweeper will: %s", conversation_id, error)


@contextlib.asynccontextmanager
async def ringing(stores: Stores, doorbell: Doorbell) -> AsyncIterator[None]:
    """Ring for what this process's transactions make ready, such as the task of a child agent."""
    intake = PlatformIntake(stores, doorbell)
    try:
        yield
    finally:
        await intake.close()
