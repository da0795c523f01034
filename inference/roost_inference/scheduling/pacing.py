"""How many prompt tokens a step may carry without making the answers being written wait.

Prompts and answers take turns, a step each: in one batch the tiles of the attention kernels would
have to pass over the contexts of all. So the gap between two tokens of an answer is a step of
prompt tokens and one of answers, and the first is cut to what the target leaves.

A short prompt is not cut: read whole it costs the answers one pause instead of several, which are
longer together, as small chunks cost more a token. What an answer may fall behind its pace of a
token each target is bounded, so a stream of short prompts can't hold it up.
"""

from collections.abc import Iterable

from roost_inference.scheduling.cost import TILE_ROWS, StepCost
from roost_inference.sequence import Sequence

# A prompt always gets on by this much a step, whatever the target says.
CHUNK_TOKENS_MIN = 16
# A whole tile may exceed the target by so much: a part of one that holds it gets on half as fast.
STRETCH = 2.0
# Steps while nobody waits for a next token, in targets: who arrives meanwhile waits for their end.
# Long enough that where a prompt is cut, and so its numbers to the last bit, seldom depends on it.
ALONE_TARGETS = 8.0
# How far an answer may fall behind its pace for a prompt that is read whole, in targets.
BEHIND_TARGETS_MAX = 15.0
# The pace that answers keep while short prompts are read, in targets a token: 200 ms, which is
# about how fast people read.
PACE_TARGETS = 2.0
# Answers catch up while their steps take at most this share of the target.
CATCH_UP_SHARE = 0.8


class Pacer:
    """Sizes chunks by what steps are measured to cost."""

    def __init__(self, target_ms: float, cost: StepCost) -> None:
        """target_ms: the longest gap between two tokens of an answer that is aimed at."""
        self.target_ms = target_ms
        self.cost = cost

    @property
    def prefill_ms_per_token(self) -> float:
        """Of a prompt of moderate length read in efficient chunks."""
        rows = 2 * TILE_ROWS
        return self.cost.ms(rows, rows * rows / 2) / rows

    def slack_ms(self, answers: Iterable[Sequence], now: float) -> float:
        """How long all of the answers can be kept waiting now; one that has just begun may fall
        behind its pace by BEHIND_TARGETS_MAX, one that was kept waiting by what is left of it."""
        ahead, pace_ms = BEHIND_TARGETS_MAX * self.target_ms, PACE_TARGETS * self.target_ms
        return ahead + min(
            (
                min(a.generated * pace_ms - (now - a.first_token_s) * 1000, 0.0)
                for a in answers
                if a.first_token_s is not None
            ),
            default=0.0,
        )

    def is_short(self, tokens: int, context: int) -> bool:
        """Whether a prompt of so many tokens to compute is one that is read whole."""
        return self._reading_ms(tokens, context) <= BEHIND_TARGETS_MAX * self.target_ms

    def whole(self, left: int, context: int, *, decoding_ms: float, slack_ms: float) -> int | None:
        """What of a short prompt is read now: all that is left, 0 as soon as the answers have
        caught up, None if they don't, and it has to be cut after all."""
        if self._reading_ms(left, context) <= slack_ms:
            return left
        return 0 if decoding_ms <= CATCH_UP_SHARE * self.target_ms else None

    def _reading_ms(self, tokens: int, context: int) -> float:
        return self.cost.ms(tokens, tokens * (context + tokens / 2))

    def chunk(
        self, wanted: int, context: int, *, decoding_ms: float, rows: int = 0, work: float = 0.0
    ) -> int:
        """Tokens after `context` others that may join a step of so many rows and work already.

        decoding_ms: what the step of answers costs that takes turns with this one, 0 if nobody
            waits for a next token. 0 if the step is full; never for the first in it.
        """
        alone = decoding_ms == 0.0
        limit_ms = ALONE_TARGETS * self.target_ms if alone else self.target_ms - decoding_ms

        def fits(count: int, stretch: float = 1.0) -> bool:
            more = count * (context + count / 2)
            return self.cost.ms(rows + count, work + more) <= limit_ms * stretch

        if fits(wanted):
            return wanted
        if alone and not rows:
            while wanted > TILE_ROWS and not fits(wanted):
                wanted = max(wanted // 2 // TILE_ROWS, 1) * TILE_ROWS
            return wanted
        tiles = (rows + wanted) // TILE_ROWS
        while tiles and tiles * TILE_ROWS > rows:
            count = tiles * TILE_ROWS - rows
            if fits(count, STRETCH if tiles == 1 else 1.0):
                return count
            tiles -= 1
        if rows:
            return 0
        small = min(wanted, TILE_ROWS - 1)
        while small > CHUNK_TOKENS_MIN and not fits(small):
            small -= max(small // 8, 1)
        return min(wanted, max(small, CHUNK_TOKENS_MIN))
