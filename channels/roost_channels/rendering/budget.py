"""How much processor time one text may take to be laid out; what takes more is shown plain.

The Markdown library is near-linear for what people write, but not for every text: lazy lines under
deep quotes are quadratic, and unclosed brackets cost twenty microseconds each. A rule put before
the library's own looks at the clock, so the bound holds inside the library too. The clock counts
the processor time of this thread, so that a busy machine takes no formatting away.
"""

import time
from typing import Any

from markdown_it import MarkdownIt

# The processor time of one message. An ordinary answer takes a few milliseconds, the longest that
# is kept (100,000 characters) nearly half a second.
RENDER_S = 0.5
TOKENS_MAX = 100_000  # of blocks: tables of empty cells grow beyond what was written
# Steps between two looks at the clock, each well below a millisecond.
STEPS_BETWEEN_LOOKS = 32
_KEY = "budget"


class OverBudget(ValueError):
    """The text takes too long to read; it is shown as it stands."""


class Budget:
    """Processor time from now on; used in the thread that made it."""

    def __init__(self, seconds: float = RENDER_S) -> None:
        self._ends_at = time.thread_time() + seconds
        self._steps = 0

    @property
    def left_s(self) -> float:
        """What is left, in seconds; negative when more was spent."""
        return self._ends_at - time.thread_time()

    def check(self) -> None:
        """Raise OverBudget when the time is spent."""
        if self.left_s < 0:
            raise OverBudget("takes too long to lay out")

    def step(self) -> None:
        """Check now and then: for loops of short steps."""
        self._steps += 1
        if self._steps % STEPS_BETWEEN_LOOKS == 0:
            self.check()


def bounded(parser: MarkdownIt) -> MarkdownIt:
    """The parser with rules before its own that keep the bounds; parse with `environment`."""
    chains = ["paragraph", "reference", "blockquote", "list"]
    parser.block.ruler.before("table", _KEY, _look_at_block, {"alt": chains})
    parser.inline.ruler.before("text", _KEY, _look_at_inline)
    return parser


def environment(budget: Budget) -> dict[str, Any]:
    """What `parse` of a bounded parser takes beside the text."""
    return {_KEY: budget}


def _look_at_block(state: Any, _start: int, _end: int, _silent: bool) -> bool:
    if len(state.tokens) > TOKENS_MAX:
        raise OverBudget("has too many blocks")
    state.env[_KEY].step()
    return False


def _look_at_inline(state: Any, _silent: bool) -> bool:
    state.env[_KEY].step()
    return False
