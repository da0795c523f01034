"""Queue modes: what happens to messages that arrive in a row or during a turn."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from roost.agent import QUEUE_MODES, QueueMode

DEFAULT_MODE: QueueMode = "steer"
SETTING = "queue"  # its name among a conversation's own settings
# Somebody who never pauses is answered after this many windows at the latest.
WINDOWS_MAX = 5
# Turns that may wait one by one; the oldest beyond them are answered together.
FOLLOWUPS_MAX = 20
# Why a turn was stopped that nobody stopped by hand.
INTERRUPTED = "interrupted"

MEANINGS: Mapping[QueueMode, str] = {
    "steer": "what you add while I work goes into the answer I am working on",
    "followup": "each message is answered by itself, one after the other",
    "collect": "what you write in a row is answered together, once you pause",
    "interrupt": "a new message stops what I am doing",
}


class QueuedConversation(Protocol):
    """What the queue mode of a conversation depends on."""

    @property
    def channel(self) -> str:
        """The conversation's channel."""
        ...

    @property
    def agent(self) -> str:
        """The agent that answers."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the conversation chose for itself."""
        ...


@dataclass(frozen=True, slots=True)
class QueueRules:
    """Where a conversation's queue mode comes from: its own setting, else its channel's, else its
    agent's, else the installation's.

    debounce_s: how long a conversation must be quiet before its turn begins, 0 for not at all;
    collect_s: the same where the mode is collect.
    """

    mode: QueueMode = DEFAULT_MODE
    by_channel: Mapping[str, QueueMode] = field(default_factory=dict)
    by_agent: Mapping[str, QueueMode] = field(default_factory=dict)
    debounce_s: float = 0.0
    collect_s: float = 1.5

    def default_of(self, channel: str, agent: str) -> QueueMode:
        """The mode of the conversations with an agent on a channel that chose none themselves."""
        return self.by_channel.get(channel) or self.by_agent.get(agent, self.mode)

    def mode_of(self, conversation: QueuedConversation) -> QueueMode:
        """The mode of a conversation."""
        own = conversation.settings.get(SETTING)
        chosen = next((mode for mode in QUEUE_MODES if mode == own), None)
        return chosen or self.default_of(conversation.channel, conversation.agent)

    def wait_s(self, mode: QueueMode, oldest: float, newest: float, now: float) -> float:
        """How many seconds messages received from `oldest` to `newest` still wait for more."""
        window = self.collect_s if mode == "collect" else self.debounce_s
        return max(min(newest + window, oldest + window * WINDOWS_MAX) - now, 0.0)


def batch_max(mode: QueueMode, waiting: int, most: int) -> int:
    """How many of the waiting messages the next turn takes, `most` at most."""
    return min(max(waiting - FOLLOWUPS_MAX + 1, 1), most) if mode == "followup" else most
