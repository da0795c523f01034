"""What the session page shows, as data."""

from dataclasses import dataclass

from roost_platform.views.session.spans import TurnView
from roost_platform.views.session.transcript import Bubble, CallView
from roost_platform.views.states import ConversationState
from roost_platform.views.waiting.waits import WaitView
from roost_platform.views.workflows.children import ChildView


@dataclass(frozen=True, slots=True)
class RunningTurn:
    """The turn that is being answered now, with its partial text, or that waits.

    waits: what a waiting turn waits for; started_at is since when.
    """

    turn_id: str
    number: int
    phase: str
    text: str
    started_at: float
    stop_requested: bool
    calls: tuple[CallView, ...]
    is_waiting: bool = False
    waits: tuple[WaitView, ...] = ()


@dataclass(frozen=True, slots=True)
class ConversationView:
    """Everything on the session page.

    account: which account of its channel, where the channel has several; else empty.
    state: of the conversation now; of a session that is over, its own.
    turn_count: turns of this session; all_turns: those of the conversation.
    waiting_count: how many messages wait, of which `waiting` shows the first.
    children: agents that work for this conversation. root_id: the chat for which this one, itself
        an agent's, works; None for a chat.
    """

    id: str
    key: str
    channel: str
    account: str
    title: str
    agent: str
    identity_id: str | None
    access: str
    session_id: str
    session_number: int
    session_count: int
    is_current: bool
    created_at: float
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    bubbles: tuple[Bubble, ...]
    earlier: int
    first: int
    queue: str
    progress: str
    waiting: tuple[Bubble, ...]
    running: RunningTurn | None
    turns: tuple[TurnView, ...]
    turn_count: int
    all_turns: int
    state: ConversationState
    waiting_count: int
    children: tuple[ChildView, ...] = ()
    root_id: str | None = None
