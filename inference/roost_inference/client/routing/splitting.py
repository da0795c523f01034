"""Decides whether another engine should read a prompt: only where that is sooner done."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# A long prompt beside answers that are being written takes about twice as long.
BESIDE_ANSWERS: Final = 2.0
# Two requests more, and the set-up of a transfer.
OVERHEAD_MS: Final = 20.0
# All of this is estimated: what gains less is not worth a second engine.
GAIN_MIN: Final = 1.1
BLOCKS_MIN: Final = 2  # fewer are computed as soon as they are asked for


@dataclass(frozen=True, slots=True)
class Reader:
    """An engine as a reader of one prompt. missing: tokens of it that the engine would compute.
    queued: tokens of other prompts before it. is_writing: it writes answers meanwhile."""

    name: str
    ms_per_token: float
    missing: int
    queued: int = 0
    is_writing: bool = False

    @property
    def queue_ms(self) -> float:
        """How long the prompt waits for others."""
        return self.queued * self.ms_per_token * self._slowness

    @property
    def reading_ms(self) -> float:
        """How long reading it takes then."""
        return self.missing * self.ms_per_token * self._slowness

    @property
    def _slowness(self) -> float:
        return BESIDE_ANSWERS if self.is_writing else 1.0


@dataclass(frozen=True, slots=True)
class Link:
    """The way of KV from one engine to another."""

    ms_per_token: float

    @classmethod
    def assumed(cls, bytes_per_token: int, bytes_per_s: float) -> "Link":
        """One that nothing has gone over yet."""
        return cls(1000 * bytes_per_token / bytes_per_s)

    def transfer_ms(self, tokens: int) -> float:
        """How long so many tokens take."""
        return OVERHEAD_MS + tokens * self.ms_per_token


@dataclass(frozen=True, slots=True)
class Split:
    """A prompt read by `reader` and handed over, against one that the decode engine reads."""

    reader: str
    split_ms: float
    alone_ms: float


def best_split(
    decode: Reader, readers: Sequence[Reader], link: Link, block_tokens: int
) -> Split | None:
    """The prefill engine that should read the prompt; None where the decode engine should.

    It pays where the other engine's queue, its reading and the transfer are sooner done, all
    together, than reading on the decode engine.
    """
    if decode.missing < BLOCKS_MIN * block_tokens:
        return None
    alone_ms = decode.queue_ms + decode.reading_ms
    transfer_ms = link.transfer_ms(decode.missing)
    splits = [
        Split(one.name, one.queue_ms + one.reading_ms + transfer_ms, alone_ms) for one in readers
    ]
    best = min(splits, key=lambda one: one.split_ms, default=None)
    return best if best is not None and best.split_ms * GAIN_MIN < alone_ms else None
