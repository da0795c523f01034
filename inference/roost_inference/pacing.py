"""How many prompt tokens a step may carry without making the answers being written wait.

Prompts and answers take turns, a step each: in one batch the tiles of the attention kernels would
have to pass over the contexts of all. So the gap between two tokens of an answer is a step of
prompt tokens and one of answers, and the first is cut to what the target leaves.
"""

from roost_inference.stepcost import TILE_ROWS, StepCost

# A prompt always gets on by this much a step, whatever the target says.
CHUNK_TOKENS_MIN = 8
# A whole tile may exceed the target by so much: a part of one that holds it gets on half as fast.
STRETCH = 2.0
# Steps while nobody waits for a next token, in targets: who arrives meanwhile waits for their end.
# Long enough that where a prompt is cut, and so its numbers to the last bit, seldom depends on it.
ALONE_TARGETS = 8.0


class Pacer:
    """Sizes chunks by what steps are measured to cost."""

    def __init__(self, target_ms: float) -> None:
        self.target_ms = target_ms
        self.cost = StepCost()

    @property
    def prefill_ms_per_token(self) -> float:
        """Of a prompt of moderate length read in efficient chunks."""
        rows = 2 * TILE_ROWS
        return self.cost.ms(rows, rows * rows / 2) / rows

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

    def observe(self, rows: int, work: float, elapsed_ms: float) -> None:
        """Learn from a finished step."""
        self.cost.observe(rows, work, elapsed_ms)
