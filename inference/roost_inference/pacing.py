"""How many prompt tokens a step may carry without making the answers being written wait."""

from dataclasses import dataclass

# A prompt always gets on by this much a step, whatever the target says: every step has a fixed
# cost, and chunks much smaller than this would spend most of the time on it.
CHUNK_TOKENS_MIN = 32
SMOOTHING = 0.3


@dataclass(slots=True)
class Pacer:
    """Learns the cost of steps: milliseconds per prompt token, and per step for decoding rows.

    The first guesses stand until the warm-up has measured.
    """

    target_ms: float
    prefill_ms_per_token: float = 1.0
    decode_ms_per_step: float = 10.0
    decode_ms_per_row: float = 1.0

    def estimate_ms(self, decoding: int, prefill_tokens: int) -> float:
        """Expected duration of a step."""
        return self._decode_ms(decoding) + self.prefill_ms_per_token * prefill_tokens

    def prefill_budget(self, decoding: int, room: int) -> int:
        """Prompt tokens for the next step: all the room if nobody waits for a next token."""
        if decoding == 0:
            return room
        left_ms = self.target_ms - self._decode_ms(decoding)
        tokens = int(left_ms / max(self.prefill_ms_per_token, 1e-6))
        return min(room, max(CHUNK_TOKENS_MIN, tokens))

    def observe(self, decoding: int, prefill_tokens: int, elapsed_ms: float) -> None:
        """Learn from a finished step. Small mixed chunks say too little about either cost."""
        if prefill_tokens == 0 and decoding == 1:
            self.decode_ms_per_step = _smooth(self.decode_ms_per_step, elapsed_ms)
        elif prefill_tokens == 0 and decoding > 1:
            per_row = (elapsed_ms - self.decode_ms_per_step) / (decoding - 1)
            self.decode_ms_per_row = _smooth(self.decode_ms_per_row, max(per_row, 0.0))
        elif prefill_tokens >= CHUNK_TOKENS_MIN:
            per_token = (elapsed_ms - self._decode_ms(decoding)) / prefill_tokens
            floor = 0.1 * self.prefill_ms_per_token
            self.prefill_ms_per_token = _smooth(self.prefill_ms_per_token, max(per_token, floor))

    def _decode_ms(self, decoding: int) -> float:
        if decoding == 0:
            return 0.0
        return self.decode_ms_per_step + self.decode_ms_per_row * (decoding - 1)


def _smooth(old: float, new: float) -> float:
    return old + SMOOTHING * (new - old)
