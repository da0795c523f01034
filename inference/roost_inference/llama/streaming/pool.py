"""Which sequence holds which stream: who enters, who leaves, and ids without gaps.

A stream is a KV cache for one sequence. A step computes streams side by side only if their ids
follow each other without a gap. So the streams of a step are always the first ones: a sequence that
is not in the step gives up its stream if one behind it is, and the last one moves into the gap.

A stream is a write-back cache in front of the library, which is the context that every sequence can
be in: positions [0, stored) are in both, [stored, end) in the stream only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from roost_inference.batch import Batch

# So many answers in one step make it worth while to copy them to streams. One that is there stays
# there, whatever the others do.
ENTER_ANSWERS = 4
# Nobody enters a stream that would be full soon.
ENTER_ROOM_CELLS = 64


class StreamMover(Protocol):
    """Copies KV between the library and the streams. Any method may raise EngineFailed."""

    def enter(self, sequence: int, stream: int) -> int | None:
        """Copy the whole sequence from where it is to an empty stream. Returns how many of its
        leading positions the library has; None if that is not possible, and nothing is changed."""
        ...

    def store(self, stream: int, sequence: int, start: int) -> None:
        """Append the stream's positions from `start` on to the library; the stream keeps them."""
        ...

    def leave(self, stream: int, sequence: int, start: int) -> None:
        """The same, and the stream is empty afterwards."""
        ...

    def move(self, source: int, target: int) -> None:
        """Move what a stream holds to an empty one."""
        ...

    def cut(self, stream: int, start: int) -> None:
        """Remove the stream's positions from `start` on."""
        ...

    def end(self, stream: int) -> int:
        """One past the last position that the stream holds."""
        ...


@dataclass(slots=True)
class Held:
    """The stream of a sequence, and how much of it the library has as well."""

    stream: int
    stored: int


class StreamPool:
    """Holds at most `streams` sequences of at most `cells` positions. Used by the engine thread."""

    def __init__(
        self,
        mover: StreamMover,
        *,
        streams: int,
        cells: int,
        enter_at: int = ENTER_ANSWERS,
        room: int = ENTER_ROOM_CELLS,
    ) -> None:
        """enter_at, room: see ENTER_ANSWERS and ENTER_ROOM_CELLS."""
        self.streams = streams
        self.cells = cells
        self.enter_at = enter_at
        self.room = room
        # The pool takes nobody in any more: the kernels refused a sequence.
        self.is_closed = False
        self._mover = mover
        self._held: dict[int, Held] = {}
        self._sequences: list[int | None] = [None] * streams

    def __contains__(self, sequence: int) -> bool:
        return sequence in self._held

    def __len__(self) -> int:
        return len(self._held)

    def end(self, sequence: int) -> int:
        """One past the last position held of a sequence, 0 for one that has no stream."""
        held = self._held.get(sequence)
        return 0 if held is None else self._mover.end(held.stream)

    def stored(self, sequence: int) -> int:
        """How many leading positions of a sequence in a stream the library has as well."""
        return self._held[sequence].stored

    def arrange(self, batch: Batch) -> dict[int, int]:
        """Prepare a step. Returns, by sequence, the streams, 0 and up without a gap, of those that
        are computed in streams. Rows of prompts, which want no logits, never are, nor are drafts of
        a few answers: side by side all have as many rows as the one with the most."""
        ids = batch.sequence_ids[: batch.size].tolist()
        if not batch.outputs[: batch.size].all():
            for sequence in dict.fromkeys(ids) if self._held else ():
                self.leave(sequence)
            return {}
        starts: dict[int, int] = {}
        rows: dict[int, int] = {}
        for sequence, position in zip(ids, batch.positions[: batch.size].tolist(), strict=True):
            starts.setdefault(sequence, position)
            rows[sequence] = rows.get(sequence, 0) + 1
        most = max(rows.values())
        if 1 < len(rows) < self.enter_at and len(rows) < batch.size:
            for sequence in rows:
                self.leave(sequence)
            return {}
        # How many positions each has after the step, filled up to the longest draft.
        ends = {sequence: start + most for sequence, start in starts.items()}
        for sequence, end in ends.items():
            if sequence in self._held and end > self.cells:
                self.leave(sequence)
        self._let_in(ends)
        inside = [sequence for sequence in ends if sequence in self._held]
        self._close_gaps(inside)
        return {sequence: self._held[sequence].stream for sequence in inside}

    def _let_in(self, ends: Mapping[int, int]) -> None:
        outside = [
            sequence
            for sequence, end in ends.items()
            if sequence not in self._held and end + self.room <= self.cells
        ]
        inside = sum(sequence in self._held for sequence in ends)
        if self.is_closed or not outside or inside + len(outside) < self.enter_at:
            return
        for sequence in outside[: self.streams - inside]:
            stream = self._empty_stream(ends)
            stored = self._mover.enter(sequence, stream)
            if stored is None:
                self.is_closed = True
                return
            self._held[sequence] = Held(stream, stored)
            self._sequences[stream] = sequence

    def _empty_stream(self, ends: Mapping[int, int]) -> int:
        """The first empty stream; if there is none, one that is not in the step becomes empty."""
        for stream, sequence in enumerate(self._sequences):
            if sequence is None:
                return stream
        idle = next(sequence for sequence in self._held if sequence not in ends)
        stream = self._held[idle].stream
        self.leave(idle)
        return stream

    def _close_gaps(self, inside: list[int]) -> None:
        """Bring these sequences to the first streams."""
        last = len(inside)
        away = sorted(s for s in inside if self._held[s].stream >= last)
        if not away:
            return
        taken = {self._held[sequence].stream for sequence in inside}
        gaps = [stream for stream in range(last) if stream not in taken]
        for gap, sequence in zip(gaps, away, strict=True):
            idle = self._sequences[gap]
            if idle is not None:
                self.leave(idle)
            held = self._held[sequence]
            self._mover.move(held.stream, gap)
            self._sequences[held.stream], self._sequences[gap] = None, sequence
            held.stream = gap

    def store(self, sequence: int, end: int) -> None:
        """Make sure that the library has the first `end` positions of the sequence."""
        held = self._held.get(sequence)
        if held is not None and held.stored < end:
            self._mover.store(held.stream, sequence, held.stored)
            held.stored = self._mover.end(held.stream)

    def leave(self, sequence: int) -> None:
        """Give the sequence back to the library, if it is in a stream."""
        held = self._held.get(sequence)
        if held is not None:
            self._mover.leave(held.stream, sequence, held.stored)
            self._forget(sequence)

    def cut(self, sequence: int, start: int) -> None:
        """Forget the positions of the sequence from `start` on."""
        held = self._held.get(sequence)
        if held is None:
            return
        self._mover.cut(held.stream, start)
        held.stored = min(held.stored, start)
        if start == 0:
            self._forget(sequence)

    def _forget(self, sequence: int) -> None:
        self._sequences[self._held.pop(sequence).stream] = None

    def check(self) -> None:
        """Raise AssertionError if sequences and streams do not add up. For tests."""
        taken = {held.stream: sequence for sequence, held in self._held.items()}
        assert len(taken) == len(self._held), "two sequences have one stream"
        assert all(
            taken.get(stream) == sequence for stream, sequence in enumerate(self._sequences)
        ), "the streams do not know their sequences"
        for stream in range(self.streams):
            end = self._mover.end(stream)
            if stream not in taken:
                assert end == 0, "an empty stream holds KV"
            else:
                stored = self._held[taken[stream]].stored
                assert 0 <= stored <= end <= self.cells, "a stream holds less than is stored"
