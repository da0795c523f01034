"""The port of the outbox: entries, their parts, status messages, and what lanes ask of storage."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from roost_channels.clock import Passed
from roost_channels.errors import Failure
from roost_channels.message import Address, Button, Media, ReplyTarget
from roost_channels.rendering.parts import RenderedPart

# An invitation asks the person to open a closed session window; it goes before what it is for.
# A prompt asks for words of the person's own.
EntryKind = Literal["answer", "notice", "approval", "error", "invitation", "prompt"]
PartState = Literal[
    "planned", "sending", "sent", "not_sent", "ambiguous", "failed", "expired", "dropped"
]

UNFINISHED: tuple[PartState, ...] = ("planned", "sending", "not_sent", "ambiguous")
# Why a part failed: the provider refused it, or nobody could prove either outcome in time.
FailureReason = Literal["refused", "outcome_unknown"]
# A request with a status message whose process died is waited for this long.
UNDER_WAY_S = 5.0


class PartOver(Exception):
    """A part is not to be sent as it was seen: it is finished, stopped, or another courier's."""


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """One logical message. `text` is Markdown; `generation` is the turn's fence, 0 without one.

    media: the files that follow the text. is_dropped: the person stopped its delivery; what is in
    flight is settled, and nothing is sent again. edits_id: the message of ours that this one
    replaces in place, if any; edits: the provider's id of its last part, if it arrived.
    status_left_at: the `left_at` of its turn's status message.
    """

    id: str
    address: Address
    kind: EntryKind
    text: str
    reply_to: ReplyTarget | None
    buttons: tuple[Button, ...]
    turn_id: str | None
    generation: int
    created_at: float
    media: tuple[Media, ...] = ()
    is_dropped: bool = False
    edits_id: str = ""
    edits: str = ""
    status_left_at: float = 0.0


@dataclass(frozen=True, slots=True)
class StoredPart:
    """One physical send: `rendered` covers characters [char_start, char_end) of the message's text.

    attempts counts tries begun; next_at is the earliest next try, seconds since the epoch.
    """

    id: str
    outbox_id: str
    index: int
    count: int
    rendered: RenderedPart
    state: PartState
    attempts: int
    next_at: float
    message_id: str | None
    started_at: float | None
    plain: bool = False
    duplicate_label: bool = False


@dataclass(frozen=True, slots=True)
class StatusMessage:
    """The one editable status message of a turn, stored before its content changes.

    state: `planned` before it leaves, `lost` when nobody knows whether it arrived, `open`,
        `closed`.
    late_until: until then an edit of unknown outcome may still arrive and change what it reads,
        0 where none can.
    left_at: when a request with it left whose outcome isn't stored yet, 0 where none is under way.
    answer_part_id: the part of the answer that the message has become, empty while it is none.

    Orphans also carry: outcome (done | stopped | failed) and elapsed_s of the turn; after, before:
        the messages between which a status message without an id must stand; known: ids of our
        other messages there.
    """

    turn_id: str
    address: Address
    message_id: str | None
    shown: str
    state: Literal["planned", "lost", "open", "closed"]
    edited_at: float
    late_until: float = 0.0
    left_at: float = 0.0
    answer_part_id: str = ""
    outcome: str = ""
    elapsed_s: float = 0.0
    after: str = ""
    before: str = ""
    known: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProgressSnapshot:
    """How a running turn stands: the latest wins, older ones are never shown.

    phase: queued | thinking | tool | answering | unreachable | done | stopped | failed.
    tools: lines already fit for people, oldest first; plan: the steps a tool announced, with marks.
    text: the partial answer as generated so far.
    mode: what the conversation chose to see, empty for the account's default.
    reply_to: the message the turn answers; inbound_message_id: the newest inbound, for typing
        indications.
    nonce: what the turn's buttons carry beside its id, so that none can be made up.
    """

    turn_id: str
    conversation_id: str
    address: Address
    generation: int
    phase: str
    text: str
    tools: tuple[str, ...]
    reply_to: ReplyTarget | None
    inbound_message_id: str
    started_at: float
    updated_at: float
    version: int
    plan: tuple[str, ...] = ()
    mode: str = ""
    nonce: str = ""


def is_under_way(left_at: float, passed: Passed) -> bool:
    """Whether a request with a status message may still be on its way to the provider."""
    return left_at > 0 and abs(passed.since(left_at)) < UNDER_WAY_S


class ProgressStore(Protocol):
    """Storage of progress and status messages. Every method is one committed transaction."""

    async def progress(self, channels: Sequence[tuple[str, str]]) -> Sequence[ProgressSnapshot]:
        """Snapshots of running turns, and of finished ones whose status message is open."""

    async def status_message(self, turn_id: str) -> StatusMessage | None:
        """The status message of a turn, None before it is planned."""

    async def plan_status_message(self, status: StatusMessage) -> bool:
        """Store a status message before a request with it leaves: a turn's first, or an edit of it.

        False if the turn is fenced, or if another courier's request with it came first.
        """

    async def put_status_message(self, status: StatusMessage) -> None:
        """Store a turn's status message as it stands now."""

    async def overtaken(self, turn_id: str) -> bool:
        """Whether a provider took something of ours for the turn's chat after the turn began: its
        status message may then stand above something newer."""

    async def fenced(self, turn_id: str) -> bool:
        """Whether no edit may leave any more: its final is queued, it was stopped, or unknown."""

    async def orphans(self, channels: Sequence[tuple[str, str]]) -> Sequence[StatusMessage]:
        """Status messages for the janitor to close: their turn is over, its final delivered."""


class Outbox(ProgressStore, Protocol):
    """Storage behind the lanes. Every method is one committed transaction.

    Lanes are addresses; a lane's order is that in which entries were committed. `owner` names one
    courier process. A dead courier's parts are taken over when their lease ends, or by `recover`.

    attempt: the one that an outcome is about, 0 for the latest. Where another courier has begun one
        since, only a proof of sending counts.
    """

    async def wait(self, timeout_s: float) -> None:
        """Return when something may have changed, at the latest after `timeout_s`."""

    async def due(self, channels: Sequence[tuple[str, str]], now: float) -> Sequence[Address]:
        """The lanes of these (channel, account) pairs with an unfinished entry due at `now`."""

    async def next_due(self, channels: Sequence[tuple[str, str]]) -> float:
        """When the first lane of these accounts is due; infinity when none waits."""

    async def next_entry(self, address: Address) -> tuple[OutboxEntry, Sequence[StoredPart]] | None:
        """The oldest unfinished entry of the lane and its parts (none before `plan`).

        A part whose lease ended while it was sent has become `ambiguous`.
        """

    async def plan(self, entry_id: str, parts: Sequence[RenderedPart]) -> Sequence[StoredPart]:
        """Store an unfinished entry's parts, once: a second call returns what the first stored."""

    async def skip(self, entry_id: str) -> None:
        """The entry needs no sending: it ends, and the lane goes on."""

    async def sending(self, part_id: str, owner: str, lease_s: float, *, after: int = -1) -> int:
        """Claim a part: state `sending`, one more attempt. Commits BEFORE the request leaves.

        after: the attempts that the caller knows of. Returns the new one's number. Raises PartOver
        for a finished part or one with more attempts, another error while another's lease holds.
        """

    async def sent(self, part_id: str, message_id: str) -> bool:
        """The provider took the part. The first proof stands; returns whether this is the one."""

    async def not_sent(
        self,
        part_id: str,
        failure: Failure,
        *,
        retry_at: float,
        held: bool = False,
        invitation: str = "",
        attempt: int = 0,
    ) -> None:
        """The part was provably not sent, and is due again at `retry_at`.

        A part of a message that the person stopped is dropped instead.
        held: it waits for the person, who wakes it by writing; a person who wrote since the attempt
            began is not waited for. invitation: queued before everything else of the lane, once
            until the person writes.
        """

    async def replan(
        self, part_id: str, rendered: RenderedPart, *, drop_reply: bool = False, attempt: int = 0
    ) -> None:
        """Replace the rendering of a part that goes once more; it covers the same text.

        drop_reply: the entry forgets its reply target. An ambiguous part is marked as a possible
        repeat, another one as plainer.
        """

    async def ambiguous(self, part_id: str, failure: Failure, *, attempt: int = 0) -> None:
        """Nobody knows whether the part was sent; it is settled before anything else is sent."""

    async def failed(
        self, part_id: str, failure: Failure, *, reason: FailureReason = "refused", attempt: int = 0
    ) -> None:
        """A dead letter: the part fails, and its entry ends with it; the lane goes on.

        The entry's later parts stay as they are, and wait with it for an operator's redrive.
        """

    async def evidence(
        self, part_id: str, note: str, *, asked: str = "", answered: str = "", attempt: int = 0
    ) -> None:
        """Write down, for operators, how an ambiguous send was settled.

        note: the conclusion. asked, answered: what the provider was asked, and what came back.
        """

    async def recover(self, owner: str) -> int:
        """At start: parts left `sending` by another owner become `ambiguous`. Returns how many."""

    async def moved(self, address: Address, new_chat: str) -> None:
        """The chat migrated: the conversation and its unfinished entries follow."""

    async def keep_wait(self, address: Address, until: float) -> None:
        """Store that the provider asked for silence in this chat, for later couriers too."""

    async def waits(
        self, channels: Sequence[tuple[str, str]], now: float
    ) -> Sequence[tuple[Address, float]]:
        """The chats in which silence was asked for, and until when; topics share their chat's."""


@dataclass(frozen=True, slots=True)
class EarlierSend:
    """Something of ours that a provider took for a chat.

    part_id: empty for a status message.
    taken_at: when the provider took it, in seconds since the epoch.
    status: what the provider reported since: sent | delivered | read | failed; empty before.
    """

    part_id: str
    message_id: str
    taken_at: float
    status: str = ""


class Receipts(Protocol):
    """What providers took of ours, and what they reported of it afterwards."""

    async def earlier(
        self, address: Address, *, before: str, limit: int = 1
    ) -> Sequence[EarlierSend]:
        """What went to this chat before the part `before`, newest first, without that part.

        A status message counts only if it belongs to the newest turn.
        """
