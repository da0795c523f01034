"""All stores over one database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from roost_channels.config import DeliveryConfig
from roost_platform.approval_rules import ApprovalRules
from roost_platform.commands import ABORT_PHRASES
from roost_platform.db.agent_versions import AgentVersions
from roost_platform.db.artifacts import ArtifactStore
from roost_platform.db.audit import AuditTrail
from roost_platform.db.base.engine import Database
from roost_platform.db.channels import ChannelStates
from roost_platform.db.conversations.settings import ProgressModes
from roost_platform.db.flows.store import FlowStore
from roost_platform.db.inbox.inbox import DEFAULT_AGENT, InboxStore
from roost_platform.db.message_files import set_folder
from roost_platform.db.operator_actions import OperatorActions
from roost_platform.db.outbox.outbox import OutboxStore
from roost_platform.db.outbox.receipts import ReceiptStore
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.people.notes import PersonNoteStore
from roost_platform.db.people.people import People
from roost_platform.db.people.tenants import Tenants
from roost_platform.db.policies.switches import ToolPolicies
from roost_platform.db.queries import Queries
from roost_platform.db.schedules.store import ScheduleStore
from roost_platform.db.services import Heartbeats
from roost_platform.db.turns.stop import StopNews, Stopped
from roost_platform.db.turns.turns import TurnStore
from roost_platform.db.waits.store import WaitStore
from roost_platform.queueing import QueueRules
from roost_platform.settings.sections import TenantScope


@dataclass(frozen=True, slots=True)
class Stores:
    """Everything that reads or writes the database."""

    database: Database
    inbox: InboxStore
    turns: TurnStore
    outbox: OutboxStore
    receipts: ReceiptStore
    notes: PersonNoteStore
    artifacts: ArtifactStore
    people: People
    audit: AuditTrail
    heartbeats: Heartbeats
    channels: ChannelStates
    operators: OperatorActions
    queries: Queries
    tenants: Tenants
    queueing: QueueRules
    waits: WaitStore
    policies: ToolPolicies
    schedules: ScheduleStore
    flows: FlowStore
    stop_news: StopNews
    agent_versions: AgentVersions

    async def say_as_operator(
        self, conversation_id: str, text: str, operator: str, ip: str = ""
    ) -> str:
        """Answer as an operator in place of the agent; returns the outbox id."""
        return await self.operators.say(conversation_id, text, operator, ip)

    async def redrive(self, part_or_outbox_id: str, operator: str, ip: str = "") -> str:
        """Send a failed message again; returns the outbox id."""
        return await self.operators.redrive(part_or_outbox_id, operator, ip)

    async def confirm(self, part_or_outbox_id: str, operator: str, ip: str = "") -> str:
        """Record that an uncertain message arrived; returns the outbox id."""
        return await self.operators.confirm(part_or_outbox_id, operator, ip)

    async def request_stop(self, conversation_id: str, by: str, ip: str = "") -> Stopped:
        """Record a stop. `PlatformIntake.request_stop` rings as well; else the sweeper does."""
        return await self.inbox.request_stop(conversation_id, by, ip)

    async def close(self) -> None:
        """Close the database."""
        await self.database.close()


def open_stores(
    database: Database | str,
    *,
    policies: Mapping[tuple[str, str], AccessPolicy] | None = None,
    default_agent: str = DEFAULT_AGENT,
    agents: Sequence[str] = (),
    version: str = "",
    tenant_scope: TenantScope = "chat",
    files: Path | None = None,
    queueing: QueueRules | None = None,
    abort_phrases: tuple[str, ...] = ABORT_PHRASES,
    delivery: DeliveryConfig | None = None,
    progress_modes: ProgressModes | None = None,
    approvals: ApprovalRules | None = None,
) -> Stores:
    """Stores over a database or its URL; nothing is connected or migrated yet.

    policies: who may talk, by (channel, account); strangers pair where none is given.
    agents: the names of those that are installed; a conversation whose agent has left goes on with
        the default one after /new.
    tenant_scope: whose conversations share cached prefixes.
    files: the folder of artifacts; none can be stored without one.
    queueing: how messages that come in a row are queued; by default they steer.
    abort_phrases: whole messages that mean /stop while something runs.
    delivery: how long messages that a provider refuses late are held and tried again.
    progress_modes: what conversations see of work in progress that chose nothing, by account.
    approvals: how people are asked whether a tool may run.
    """
    opened = Database(database) if isinstance(database, str) else database
    set_folder(opened, files)
    rules = queueing or QueueRules()
    asking = approvals or ApprovalRules()
    tenants = Tenants(opened, tenant_scope)
    return Stores(
        database=opened,
        inbox=InboxStore(
            *(opened, policies, default_agent, rules, tenants, abort_phrases, progress_modes),
            agents=agents,
            approvals=asking,
        ),
        turns=TurnStore(opened, rules, tenants),
        outbox=OutboxStore(opened, asking),
        receipts=ReceiptStore(opened, delivery, asking),
        notes=PersonNoteStore(opened),
        artifacts=ArtifactStore(opened, files),
        people=People(opened),
        audit=AuditTrail(opened),
        heartbeats=Heartbeats(opened, version),
        channels=ChannelStates(opened),
        operators=OperatorActions(opened, rules, progress_modes),
        queries=Queries(opened),
        tenants=tenants,
        queueing=rules,
        waits=WaitStore(opened, asking),
        policies=ToolPolicies(opened),
        schedules=ScheduleStore(opened),
        flows=FlowStore(opened, tenants),
        stop_news=StopNews(opened),
        agent_versions=AgentVersions(opened),
    )
