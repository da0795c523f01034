"""Every table, once. Times are seconds since the epoch; ids are UUIDv7 unless said otherwise."""

from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# Autoincrementing keys: SQLite only autoincrements INTEGER, PostgreSQL wants the room.
Serial = BigInteger().with_variant(Integer(), "sqlite")

# The default of a text column that was added to a table with rows.
EMPTY = text("''")

# Orders lanes on PostgreSQL; SQLite, which has one writer, counts on from the highest.
OUTBOX_SEQUENCE = "outbox_sequence"


class Base(DeclarativeBase):
    """Naming convention so that batch migrations and both databases agree on constraint names."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text(),
        float: Double(),
        dict[str, Any]: JSON(),
        list[Any]: JSON(),
    }


class Conversation(Base):
    """One chat (and thread) of one account: the unit with one writer. `key` is Address.key.

    inbox_sequence and turn_count are counters, raised in the transaction that uses the number.
    """

    __tablename__ = "conversations"
    __table_args__ = (UniqueConstraint("channel", "account", "chat", "thread"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    channel: Mapped[str]
    account: Mapped[str]
    chat: Mapped[str]
    thread: Mapped[str] = mapped_column(default="")
    is_group: Mapped[bool] = mapped_column(server_default=false())
    session_id: Mapped[str | None]  # the current session; /new points it to another
    agent: Mapped[str]
    identity_id: Mapped[str | None] = mapped_column(ForeignKey("identities.id"))
    title: Mapped[str] = mapped_column(default="")
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    inbox_sequence: Mapped[int] = mapped_column(default=0)
    turn_count: Mapped[int] = mapped_column(default=0)
    last_inbound_at: Mapped[float | None]
    created_at: Mapped[float]


class Session(Base):
    """One stretch of a conversation with its own transcript; /new closes it and opens the next."""

    __tablename__ = "sessions"
    __table_args__ = (Index(None, "conversation_id", "number", unique=True),)

    id: Mapped[str] = mapped_column(primary_key=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"))
    number: Mapped[int]
    agent: Mapped[str]
    transcript_length: Mapped[int] = mapped_column(default=0)  # next position
    created_at: Mapped[float]
    closed_at: Mapped[float | None]


class Inbox(Base):
    """One accepted event.

    state: pending | held (sender not admitted yet) | taken | done | dropped | ignored.
    """

    __tablename__ = "inbox"
    __table_args__ = (
        UniqueConstraint("channel", "account", "event_id"),
        UniqueConstraint("conversation_id", "sequence"),
        Index(None, "state", "received_at"),
        Index(None, "conversation_id", "message_id"),
        Index(None, "conversation_id", "state"),
        Index(None, "identity_id", "state"),
        Index(None, "turn_id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"))
    sequence: Mapped[int]
    channel: Mapped[str]
    account: Mapped[str]
    event_id: Mapped[str]
    message_id: Mapped[str]
    kind: Mapped[str]
    album: Mapped[str | None]
    identity_id: Mapped[str | None] = mapped_column(ForeignKey("identities.id"))
    sender: Mapped[dict[str, Any]]
    text: Mapped[str]
    quote: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    attachments: Mapped[list[Any]] = mapped_column(default=list)
    raw: Mapped[dict[str, Any]]
    state: Mapped[str]
    # Why held, dropped or ignored: a code of db/reasons.py, and words for operators.
    reason_code: Mapped[str] = mapped_column(default="", server_default=EMPTY)
    reason: Mapped[str] = mapped_column(default="")
    turn_id: Mapped[str | None]
    sent_at: Mapped[float]
    received_at: Mapped[float]
    rung_at: Mapped[float | None]  # last doorbell; the sweeper rings again


class Tenant(Base):
    """Whose sessions share cached prefixes. `salt` is random and goes to the engine only."""

    __tablename__ = "tenants"

    name: Mapped[str] = mapped_column(primary_key=True)
    salt: Mapped[str]
    created_at: Mapped[float]


class Turn(Base):
    """One answer in the making; `number` is the generation fence.

    state: running | done | stopped | failed. nonce: what its buttons carry beside its id.
    worker_deaths: workers that froze or died while they computed for it.
    """

    __tablename__ = "turns"
    __table_args__ = (
        UniqueConstraint("conversation_id", "number"),
        Index(None, "state"),
        Index(None, "session_id"),
        # The database itself refuses a second writer of a conversation.
        Index(
            "uq_turns_running",
            "conversation_id",
            unique=True,
            sqlite_where=text("state = 'running'"),
            postgresql_where=text("state = 'running'"),
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"))
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id"))
    number: Mapped[int]
    agent: Mapped[str]
    state: Mapped[str]
    # How it was stopped, or why it failed: a code of roost_workflows.ports.
    reason_code: Mapped[str] = mapped_column(default="")
    stop_requested_at: Mapped[float | None]
    stop_requested_by: Mapped[str] = mapped_column(default="")
    reply_to: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    queued_at: Mapped[float]  # when the first message it answers was received
    started_at: Mapped[float]
    finished_at: Mapped[float | None]
    nonce: Mapped[str] = mapped_column(default="", server_default=text("''"))
    worker_deaths: Mapped[int] = mapped_column(default=0, server_default=text("0"))


class TurnStep(Base):
    """One model call of a turn; its content stays here until the tool group closes.

    state: open (tools outstanding) | closed. engine: the engine's own figures of the call.
    """

    __tablename__ = "turn_steps"

    turn_id: Mapped[str] = mapped_column(ForeignKey("turns.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str]
    finish: Mapped[str]
    text: Mapped[str]
    model: Mapped[str] = mapped_column(default="")
    engine_message_id: Mapped[str] = mapped_column(default="")
    prompt_tokens: Mapped[int] = mapped_column(default=0)
    cached_tokens: Mapped[int] = mapped_column(default=0)
    completion_tokens: Mapped[int] = mapped_column(default=0)
    time_to_first_token_s: Mapped[float | None]
    duration_s: Mapped[float] = mapped_column(default=0.0)
    engine: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    started_at: Mapped[float]
    created_at: Mapped[float]


class ToolCall(Base):
    """One tool call. state: planned | running | ok | error | cancelled | unknown | skipped."""

    __tablename__ = "tool_calls"

    turn_id: Mapped[str] = mapped_column(ForeignKey("turns.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    call_id: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int]
    name: Mapped[str]
    arguments: Mapped[str]
    effect: Mapped[str]
    state: Mapped[str]
    attempts: Mapped[int] = mapped_column(default=0)
    result: Mapped[str] = mapped_column(default="")
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]


class Transcript(Base):
    """What was said, in order: the model's and the operators' truth. Only ever appended to."""

    __tablename__ = "transcript"
    __table_args__ = (UniqueConstraint("session_id", "position"), Index(None, "turn_id"))

    id: Mapped[str] = mapped_column(primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id"))
    position: Mapped[int]
    turn_id: Mapped[str | None]
    # user | assistant | tool | operator (a person answered in the agent's place) | system (a note)
    role: Mapped[str]
    content: Mapped[str]
    quoted: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    # In groups, [name, text] of what was said since the agent was last spoken to; else None.
    context: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    tool_calls: Mapped[list[Any]] = mapped_column(default=list)
    tool_call_id: Mapped[str] = mapped_column(default="")
    name: Mapped[str] = mapped_column(default="")
    status: Mapped[str] = mapped_column(default="")
    # What happened to the message, for the model and for operators; its kind is a NoteKind.
    note_kind: Mapped[str] = mapped_column(default="", server_default=EMPTY)
    note: Mapped[str] = mapped_column(default="")
    inbox_id: Mapped[str | None]
    message_id: Mapped[str] = mapped_column(default="")
    engine_message_id: Mapped[str] = mapped_column(default="")
    prompt_tokens: Mapped[int] = mapped_column(default=0)
    completion_tokens: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[float]


class RunProgress(Base):
    """The latest snapshot of a turn, one row per turn, overwritten. Lossy by contract."""

    __tablename__ = "run_progress"

    turn_id: Mapped[str] = mapped_column(ForeignKey("turns.id"), primary_key=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"), index=True)
    phase: Mapped[str]
    text: Mapped[str] = mapped_column(default="")
    tools: Mapped[list[Any]] = mapped_column(default=list)
    plan: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    version: Mapped[int] = mapped_column(default=1)
    updated_at: Mapped[float]


class StatusMessageRow(Base):
    """The editable status message of a turn: its id is stored before its content changes."""

    __tablename__ = "status_messages"
    __table_args__ = (Index(None, "state"),)

    turn_id: Mapped[str] = mapped_column(ForeignKey("turns.id"), primary_key=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"))
    message_id: Mapped[str | None]
    shown: Mapped[str] = mapped_column(default="")
    state: Mapped[str]  # planned | lost | open | closed
    edited_at: Mapped[float]
    late_until: Mapped[float] = mapped_column(default=0.0, server_default=text("0"))


class Outbox(Base):
    """One logical message to a chat. kind: answer | notice | approval | error | invitation.

    state: pending | sent | failed | cancelled.
    dedupe_key makes queueing idempotent. sequence orders a lane; below zero goes before the rest.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        Index(None, "state", "channel", "account"),
        Index(None, "conversation_id", "sequence"),
        Index(None, "conversation_id", "state", "sequence"),
        Index(None, "turn_id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(Serial, unique=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"))
    channel: Mapped[str]
    account: Mapped[str]
    turn_id: Mapped[str | None]
    generation: Mapped[int] = mapped_column(default=0)
    kind: Mapped[str]
    text: Mapped[str]
    reply_to: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    buttons: Mapped[list[Any]] = mapped_column(default=list)
    media: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    state: Mapped[str]
    dedupe_key: Mapped[str] = mapped_column(unique=True)
    next_at: Mapped[float]
    created_at: Mapped[float]
    finished_at: Mapped[float | None]


class Part(Base):
    """One physical send.

    state: planned | sending | sent | not_sent | ambiguous | failed | expired.
    """

    __tablename__ = "parts"
    __table_args__ = (
        UniqueConstraint("outbox_id", "position"),
        Index(None, "conversation_id", "message_id"),
        Index(None, "conversation_id", "sent_at"),
        Index(None, "message_id"),
        Index(None, "state"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    outbox_id: Mapped[str] = mapped_column(ForeignKey("outbox.id"))
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"))
    position: Mapped[int]
    count: Mapped[int]
    rendered: Mapped[dict[str, Any]]
    char_start: Mapped[int]
    char_end: Mapped[int]
    state: Mapped[str]
    # sent | delivered | read | failed, as the provider tells; empty before it does.
    receipt: Mapped[str] = mapped_column(default="")
    attempts: Mapped[int] = mapped_column(default=0)
    owner: Mapped[str] = mapped_column(default="")
    lease_until: Mapped[float | None]
    next_at: Mapped[float]
    message_id: Mapped[str | None]
    # It waits for the person: the session window is closed until they write again.
    held: Mapped[bool] = mapped_column(default=False, server_default=false())
    plain: Mapped[bool] = mapped_column(default=False)
    duplicate_label: Mapped[bool] = mapped_column(default=False)
    error: Mapped[str] = mapped_column(default="")
    evidence: Mapped[list[Any]] = mapped_column(default=list)
    started_at: Mapped[float | None]
    sent_at: Mapped[float | None]


class DeliveryAttempt(Base):
    """One try of one part, or one look at what became of it, for operators.

    kind: send | check (we asked the provider) | receipt (it told us) | operator.
    asked: what we wanted; description: what came back; concluded: what followed from it.
    """

    __tablename__ = "delivery_attempts"
    __table_args__ = (Index(None, "part_id", "attempt"),)

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    part_id: Mapped[str] = mapped_column(ForeignKey("parts.id"))
    attempt: Mapped[int]
    kind: Mapped[str] = mapped_column(default="send")
    outcome: Mapped[str]  # sending | sent | not_sent | ambiguous | failed | looked
    asked: Mapped[str] = mapped_column(default="")
    concluded: Mapped[str] = mapped_column(default="")
    http_status: Mapped[int] = mapped_column(default=0)
    code: Mapped[str] = mapped_column(default="")
    description: Mapped[str] = mapped_column(default="")
    retry_at: Mapped[float | None]
    started_at: Mapped[float]
    finished_at: Mapped[float | None]


class Artifact(Base):
    """A file: one that came with a message, or one that an agent made.

    The bytes lie in the data folder under the artifact's id, a short word that models can repeat.
    state: pending (to be fetched) | stored | failed | expired.
    origin: the inbound message's id and the attachment's number, or the tool call that made it.
    attached: its place among the files that go with the turn's answer.
    """

    __tablename__ = "artifacts"
    __table_args__ = (
        UniqueConstraint("conversation_id", "origin"),
        Index(None, "state", "next_at"),
        Index(None, "turn_id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"))
    inbox_id: Mapped[str | None] = mapped_column(ForeignKey("inbox.id"))
    turn_id: Mapped[str | None]
    origin: Mapped[str]
    channel: Mapped[str]
    account: Mapped[str]
    kind: Mapped[str]
    name: Mapped[str] = mapped_column(default="")
    mime_type: Mapped[str] = mapped_column(default="")
    size: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(default="")
    provider_id: Mapped[str] = mapped_column(default="")
    url: Mapped[str] = mapped_column(default="")
    state: Mapped[str]
    reason: Mapped[str] = mapped_column(default="")
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[float]
    attached: Mapped[int | None]
    created_at: Mapped[float]
    stored_at: Mapped[float | None]


class Identity(Base):
    """One person. access: pending | allowed | blocked."""

    __tablename__ = "identities"

    id: Mapped[str] = mapped_column(primary_key=True)
    display_name: Mapped[str]
    access: Mapped[str]
    created_at: Mapped[float]
    decided_at: Mapped[float | None]
    decided_by: Mapped[str] = mapped_column(default="")
    # The access setting decided, not an operator: it decides again when the setting changes.
    decided_by_policy: Mapped[bool] = mapped_column(default=False, server_default=false())


class Alias(Base):
    """A channel's id for a person: Telegram user id, phone, BSUID."""

    __tablename__ = "aliases"

    channel: Mapped[str] = mapped_column(primary_key=True)
    address: Mapped[str] = mapped_column(primary_key=True)
    identity_id: Mapped[str] = mapped_column(ForeignKey("identities.id"), index=True)
    username: Mapped[str] = mapped_column(default="")
    created_at: Mapped[float]


class Pairing(Base):
    """A pairing code a stranger was given, for an operator to approve.

    state: open | approved | refused | expired.
    """

    __tablename__ = "pairings"

    code: Mapped[str] = mapped_column(primary_key=True)
    identity_id: Mapped[str] = mapped_column(ForeignKey("identities.id"), index=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"))
    state: Mapped[str]
    created_at: Mapped[float]
    expires_at: Mapped[float]
    notified_at: Mapped[float]  # when the person was last told the code


class NoteRow(Base):
    """A note kept for one person; `key` is the tool call that made it."""

    __tablename__ = "notes"
    __table_args__ = (UniqueConstraint("identity_id", "key"),)

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    identity_id: Mapped[str] = mapped_column(ForeignKey("identities.id"))
    key: Mapped[str]
    text: Mapped[str]
    created_at: Mapped[float]


class Operator(Base):
    """A person who may use the console. role: viewer | operator | admin."""

    __tablename__ = "operators"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]
    role: Mapped[str]
    disabled: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[float]


class OperatorSession(Base):
    """A login: SHA-256 of the cookie's token. Idle and absolute limits are the console's."""

    __tablename__ = "operator_sessions"

    token_hash: Mapped[str] = mapped_column(primary_key=True)
    operator_id: Mapped[str] = mapped_column(ForeignKey("operators.id"), index=True)
    ip: Mapped[str]
    user_agent: Mapped[str]
    created_at: Mapped[float]
    seen_at: Mapped[float]


class ApiToken(Base):
    """A bearer token for programs, hashed; role as an operator's."""

    __tablename__ = "api_tokens"

    token_hash: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    role: Mapped[str]
    created_at: Mapped[float]
    used_at: Mapped[float | None]
    revoked_at: Mapped[float | None]


class SetupToken(Base):
    """The one-time link that makes the first admin, hashed."""

    __tablename__ = "setup_tokens"

    token_hash: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[float]
    expires_at: Mapped[float]
    used_at: Mapped[float | None]


class LoginFailure(Base):
    """A failed login, counted per account and address to slow guessing."""

    __tablename__ = "login_failures"
    __table_args__ = (Index(None, "subject", "at"),)

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    subject: Mapped[str]
    at: Mapped[float]


class Audit(Base):
    """Append-only: triggers refuse changes. hash = SHA-256(prev_hash + canonical JSON)."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    at: Mapped[float]
    actor: Mapped[str]
    action: Mapped[str]
    object: Mapped[str]
    detail: Mapped[dict[str, Any]]
    ip: Mapped[str] = mapped_column(default="")
    prev_hash: Mapped[str]
    hash: Mapped[str]


class ChannelState(Base):
    """Health and polling offset of one account.

    state: starting | up | degraded | conflict | auth_error | paused.
    """

    __tablename__ = "channel_states"

    channel: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    detail: Mapped[str] = mapped_column(default="")
    cursor: Mapped[int | None] = mapped_column(BigInteger)
    name: Mapped[str] = mapped_column(default="")
    last_in_at: Mapped[float | None]
    last_out_at: Mapped[float | None]
    updated_at: Mapped[float]


class ChatWait(Base):
    """A chat in which the provider asked for silence; over when `until` is past."""

    __tablename__ = "chat_waits"

    channel: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True)
    chat: Mapped[str] = mapped_column(primary_key=True)
    until: Mapped[float]


class ServiceHeartbeat(Base):
    """A running part tells that it lives, for the health strip and `roost status`."""

    __tablename__ = "service_heartbeats"

    service: Mapped[str] = mapped_column(primary_key=True)
    pid: Mapped[int]
    version: Mapped[str]
    started_at: Mapped[float]
    seen_at: Mapped[float]
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)
