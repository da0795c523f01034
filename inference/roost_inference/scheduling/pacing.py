"""How many prompt tokens a step may carry without keeping the answers waiting for too long.

Prompts and answers take turns, a step each: in one batch the tiles of the attention kernels would
cover the contexts of all sequences. So the gap between two tokens of an answer is one step of
prompt tokens and one step of answers. The first is cut to what the second leaves of the target.

A short prompt is not cut. Read whole it costs the answers one pause. Small chunks cost more a
token, so their pauses would be longer together. How far an answer may fall behind its pace is
bounded, so a stream of short prompts can't hold it up.

While a piece of a long prompt is computed in the background, answers get a step now and then.
"""

from collections.abc import Iterable

from roost_inference.batch import TILE_ROWS
from roost_inference.request import ServiceClass
from roost_inference.scheduling.cost import StepCost
from roost_inference.sequence import Sequence

# A prompt advances at least this much a step, whatever the target says.
CHUNK_TOKENS_MIN = 16
# A whole tile may exceed the target this many times: part of a tile costs nearly as much.
STRETCH = 2.0
# How long a step of prompts may take while there are no answers, in targets: a request that arrives
# meanwhile waits for its end. It is long, so that the speed of the machine seldom decides where a
# prompt is cut: the cut changes the last bits of its numbers.
ALONE_TARGETS = 8.0
# How far an answer may fall behind its pace for a prompt that is read whole, in targets.
BEHIND_TARGETS_MAX = 15.0
# The pace of answers while short prompts are read, in targets a token. With the usual target it is
# 200 ms, about as fast as people read.
PACE_TARGETS = 2.0
# Answers catch up with their pace while their steps take at most this share of the target.
CATCH_UP_SHARE = 0.8
# From one token of an answer to the next while a piece of a long prompt is computed in the
# background, in targets: what is left of PACE_TARGETS is for steps that take longer than expected.
# Where nobody waits for any of the answers, it is the other number.
BESIDE_TARGETS = 1.5
BESIDE_TARGETS_UNWATCHED = 8.0
# A piece pauses for steps. After each it has this part of the time that the step took, at least.
PIECE_SHARE = 0.7
# How long a piece in the background may take, in targets: long prompts wait for its end.
PIECE_TARGETS_MAX = 30.0


class Pacer:
    """Sizes chunks by what steps are measured to cost."""

    def __init__(self, target_ms: float, cost: StepCost) -> None:
        """target_ms: the longest gap between two tokens of an answer that is aimed at."""
        self.target_ms = target_ms
        self.cost = cost

    @property
    def prefill_ms_per_token(self) -> float:
        """What a token costs in a prompt of moderate length that is read in efficient chunks."""
        rows = 2 * TILE_ROWS
        return self.cost.ms(rows, rows * rows / 2) / rows

    def slack_ms(self, answers: Iterable[Sequence], now: float) -> float:
        """How long every answer can wait now. An answer may fall behind its pace by
        BEHIND_TARGETS_MAX in all, so one that has waited before can wait for less."""
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
        """Whether a prompt of this many tokens to compute is one that is read whole."""
        return self.prefill_ms(tokens, context) <= BEHIND_TARGETS_MAX * self.target_ms

    def whole(self, left: int, context: int, *, decoding_ms: float, slack_ms: float) -> int | None:
        """How much of a short prompt to read now: all `left` tokens if the answers can wait for
        them, 0 if the answers catch up first, None if they never do: then it has to be cut."""
        if self.prefill_ms(left, context) <= slack_ms:
            return left
        return 0 if decoding_ms <= CATCH_UP_SHARE * self.target_ms else None

    def rest_s(self, answers: Iterable[Sequence], now: float, decoding_ms: float) -> float:
        """How long these answers can wait before their next step, which costs `decoding_ms` alone
        and is computed beside a piece in the background."""
        answers = tuple(answers)
        watched = any(answer.service is not ServiceClass.BACKGROUND for answer in answers)
        gap_ms = (BESIDE_TARGETS if watched else BESIDE_TARGETS_UNWATCHED) * self.target_ms
        oldest_s = min((a.last_token_s for a in answers if a.last_token_s is not None), default=now)
        step_ms = self.cost.beside * decoding_ms
        due_s = oldest_s + max(gap_ms - step_ms, self.piece_ms(step_ms)) / 1000
        return max(due_s - now, 0.0)

    def piece_ms(self, step_ms: float) -> float:
        """How long a piece in the background gets on after a step for which it paused: however
        slow steps are and however many wait, it never stands still."""
        return PIECE_SHARE * step_ms

    def fits_beside(self, tokens: int, context: int, slack_ms: float) -> bool:
        """Whether the answers can wait for so many tokens of a prompt, computed beside a piece."""
        return self.cost.beside * self.prefill_ms(tokens, context) <= slack_ms

    def piece(self, wanted: int, context: int) -> int:
        """How many of the wanted tokens, which follow `context` others, a piece in the background
        should have: all of them if they take no longer than PIECE_TARGETS_MAX, else a half, a
        quarter and so on, at least a tile."""
        limit_ms = PIECE_TARGETS_MAX * self.target_ms
        while wanted > TILE_ROWS and self.prefill_ms(wanted, context) > limit_ms:
            wanted = max(wanted // 2 // TILE_ROWS, 1) * TILE_ROWS
        return wanted

    def prefill_ms(self, tokens: int, context: int) -> float:
        """What it costs to read so many tokens after `context` others, alone."""
        return self.cost.ms(tokens, tokens * (context + tokens / 2))

    def chunk(
        self, wanted: int, context: int, *, decoding_ms: float, rows: int = 0, work: float = 0.0
    ) -> int:
        """How many of the wanted tokens, which follow `context` others, may join a step.

        rows, work: those of the step so far; decoding_ms: what the step of answers costs that
        takes turns with this one, 0 if there are no answers. Returns 0 if the step is full, but
        never for the first prompt in it.
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
