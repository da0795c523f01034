"""Queue modes: what becomes of messages that come in a row or while an answer is being written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

QueueMode = Literal["steer", "followup", "collect", "interrupt"]

QUEUE_MODES: tuple[QueueMode, ...] = get_args(QueueMode)
DEFAULT_MODE: QueueMode = "steer"
SETTING = "queue"  # its name among a conversation's own settings
# Somebody who never pauses is answered after so many quiet windows all the same.
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


@dataclass(frozen=True, slots=True)
class QueueRules:
    """An installation's defaults; a conversation's own setting comes before them.

    debounce_s: how long a conversation must be quiet before its turn begins, 0 for not at all;
    collect_s: the same where the mode is collect.
    """

    mode: QueueMode = DEFAULT_MODE
    by_channel: Mapping[str, QueueMode] = field(default_factory=dict)
    debounce_s: float = 0.0
    collect_s: float = 1.5

    def default_of(self, channel: str) -> QueueMode:
        return self.by_channel.get(channel, self.mode)

    def mode_of(self, channel: str, settings: Mapping[str, Any]) -> QueueMode:
        """The mode of a conversation on this channel with these settings of its own."""
        own = settings.get(SETTING)
        return next((mode for mode in QUEUE_MODES if mode == own), self.default_of(channel))

    def wait_s(self, mode: QueueMode, oldest: float, newest: float, now: float) -> float:
        """How much longer messages received from `oldest` to `newest` wait for more, 0 for not."""
        window = self.collect_s if mode == "collect" else self.debounce_s
        return max(min(newest + window, oldest + window * WINDOWS_MAX) - now, 0.0)


def batch_max(mode: QueueMode, waiting: int, most: int) -> int:
    """How many of the waiting messages the next turn takes, `most` at most."""
    return min(max(waiting - FOLLOWUPS_MAX + 1, 1), most) if mode == "followup" else most
