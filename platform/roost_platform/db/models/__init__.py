"""Every table, by subject. Times are seconds since the epoch; ids are UUIDv7 unless stated."""

from roost_platform.db.models.alerts import Alert
from roost_platform.db.models.approvals import AgentVersion, Approval, Grant, ToolPolicy
from roost_platform.db.models.base import Base, Serial
from roost_platform.db.models.children import Budget, ChildTask, FlowRun
from roost_platform.db.models.conversations import Conversation, Session
from roost_platform.db.models.files import Artifact
from roost_platform.db.models.gateway import (
    GatewayCall,
    GatewayKeyRow,
    GatewayOriginal,
    GatewayOwner,
    GatewayResponse,
)
from roost_platform.db.models.inbox import ForgottenEvent, Inbox
from roost_platform.db.models.operators import (
    ApiToken,
    Audit,
    AuditAnchor,
    LoginFailure,
    Operator,
    OperatorSession,
    SetupToken,
)
from roost_platform.db.models.outbox import OUTBOX_SEQUENCE, ChatWait, DeliveryAttempt, Outbox, Part
from roost_platform.db.models.people import (
    Alias,
    Identity,
    LinkCode,
    LinkFailure,
    ListedName,
    NoteRow,
    Pairing,
    PersonLink,
    Tenant,
)
from roost_platform.db.models.progress import RunProgress, StatusMessageRow
from roost_platform.db.models.schedules import Occurrence, Schedule
from roost_platform.db.models.services import ChannelState, ServiceHeartbeat
from roost_platform.db.models.turns import ToolCall, Transcript, Turn, TurnStep

__all__ = [
    "OUTBOX_SEQUENCE",
    "AgentVersion",
    "Alert",
    "Alias",
    "ApiToken",
    "Approval",
    "Artifact",
    "Audit",
    "AuditAnchor",
    "Base",
    "Budget",
    "ChannelState",
    "ChatWait",
    "ChildTask",
    "Conversation",
    "DeliveryAttempt",
    "FlowRun",
    "ForgottenEvent",
    "GatewayCall",
    "GatewayKeyRow",
    "GatewayOriginal",
    "GatewayOwner",
    "GatewayResponse",
    "Grant",
    "Identity",
    "Inbox",
    "LinkCode",
    "LinkFailure",
    "ListedName",
    "LoginFailure",
    "NoteRow",
    "Occurrence",
    "Operator",
    "OperatorSession",
    "Outbox",
    "Pairing",
    "Part",
    "PersonLink",
    "RunProgress",
    "Schedule",
    "Serial",
    "ServiceHeartbeat",
    "Session",
    "SetupToken",
    "StatusMessageRow",
    "Tenant",
    "ToolCall",
    "ToolPolicy",
    "Transcript",
    "Turn",
    "TurnStep",
]
