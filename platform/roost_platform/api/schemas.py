"""Requests and answers of the API, as OpenAPI shows them. Times are seconds since the epoch."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

TEXT_CHARS_MAX = 65_536
# No database keeps NUL in a text.
NO_NUL = r"^[^\x00]*$"


class Body(BaseModel):
    """A request body: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str


class Fault(BaseModel):
    """What is wrong with one field of a request; `loc` is the way to it."""

    type: str
    loc: list[str | int]
    msg: str


class Invalid(BaseModel):
    """Why a request is not valid: in words, or field by field."""

    detail: str | list[Fault]


class NewMessage(Body):
    """A message to an agent."""

    text: str = Field(min_length=1, max_length=TEXT_CHARS_MAX, pattern=NO_NUL)
    agent: str | None = Field(
        default=None, pattern=NO_NUL, description="The agent that answers from now on."
    )
    event_id: str | None = Field(
        default=None,
        max_length=200,
        pattern=NO_NUL,
        description="Send again with the same id: stored once.",
    )


class AcceptedMessage(BaseModel):
    """The stored message; the answer to it comes with the session's events."""

    inbox_id: str
    conversation_id: str
    key: str
    duplicate: bool = False


class PartStatus(BaseModel):
    """One process of the stack, or one connected account."""

    name: str
    up: bool
    detail: str


class Status(BaseModel):
    """How the stack is. `ok`: every part is up."""

    ok: bool
    version: str
    parts: list[PartStatus]
    counts: dict[str, int]


class SessionItem(BaseModel):
    """One conversation in the list."""

    id: str
    key: str
    channel: str
    title: str
    agent: str
    state: str
    turns: int
    last_at: float


class SessionList(BaseModel):
    """A page of conversations, most recent first; `total` is how many there are."""

    total: int
    sessions: list[SessionItem]


class Message(BaseModel):
    """One entry of the transcript. role: user | assistant | tool | operator."""

    id: str
    role: str
    content: str
    at: float
    turn_id: str | None = None
    forwarded_from: str = ""
    payload: str = ""
    quoted: dict[str, Any] | None = None
    tool_calls: list[Any] = []
    tool_call_id: str = ""
    name: str = ""
    status: str = ""
    note: str = ""


class Turn(BaseModel):
    """One answer. state: running | done | stopped | failed."""

    id: str
    number: int
    state: str
    reason: str
    started_at: float
    finished_at: float | None


class SessionDetail(BaseModel):
    """A conversation's current session."""

    id: str
    key: str
    channel: str
    title: str
    agent: str
    session_id: str | None
    state: str
    turns: list[Turn]
    transcript: list[Message]


class Stopping(BaseModel):
    """What a stop ends: `turn_id` is the running turn, `dropped` counts waiting messages,
    `undelivered` the answers whose delivery ended, left out where there are none.
    """

    turn_id: str | None
    dropped: int
    undelivered: int = 0


class DeliveryItem(BaseModel):
    """One outgoing message.

    state: pending | uncertain | failed | sent | delivered | read | cancelled.
    evidence: what is known about its sends, oldest first.
    """

    id: str
    key: str
    channel: str
    kind: str
    state: str
    parts: int
    parts_sent: int
    attempts: int
    error: str
    preview: str
    evidence: tuple[str, ...]
    created_at: float


class DeliveryList(BaseModel):
    """A page of outgoing messages, newest first."""

    total: int
    deliveries: list[DeliveryItem]


class PersonItem(BaseModel):
    """Someone who wrote. access: pending | allowed | blocked; `code` while one is open."""

    id: str
    display_name: str
    access: str
    code: str
    aliases: list[str]
    created_at: float


class PersonList(BaseModel):
    """People, newest first."""

    people: list[PersonItem]


class SearchItem(BaseModel):
    """A message that was found. state: why no turn took it; empty where one did."""

    id: str
    key: str
    session_number: int | None
    role: str
    author: str
    at: float
    state: str = ""
    excerpt: str


class SearchList(BaseModel):
    """Messages that were found, the newest first; `older` goes on, empty at the end."""

    messages: list[SearchItem]
    older: str = ""


class StopMany(Body):
    """Which turns to stop; empty means any. `confirm` keeps it from happening by mistake."""

    confirm: Literal[True]
    agent: str = Field(default="", max_length=64, pattern=NO_NUL)
    channel: str = Field(default="", max_length=64, pattern=NO_NUL)


class StoppedMany(BaseModel):
    """How many turns were told to stop; `left` are beyond the bound of one request."""

    stopped: int
    left: int


class DeletePerson(Body):
    """`confirm` keeps it from happening by mistake."""

    confirm: Literal[True]


class DeletedPerson(BaseModel):
    """What was deleted. written_over: whether the database's files are written anew as well."""

    id: str
    conversations: int
    groups: int
    messages: int
    files: int
    written_over: bool
