"""The streams of the toy backend: lists of tokens, moved by the same pool as those of llama.cpp."""

from collections.abc import Callable

from roost_inference.batch import Batch
from roost_inference.llama.streaming.pool import StreamPool

Cells = list[tuple[int, object]]
Held = dict[int, Cells]

# Few answers and little room, so that small tests enter streams and outgrow them.
ENTER_AT, ROOM = 2, 2


class ToyStreams:
    """Implements StreamMover. What enters is half in the library only: the rest comes straight
    from where its prompt was read, so that whoever loses it changes the text."""

    def __init__(self, library: Held, streams: int, cells: int) -> None:
        self._library = library
        self.held: list[Cells] = [[] for _ in range(streams)]
        self.refuses = False
        self.entered = self.moved = 0
        self.pool = StreamPool(self, streams=streams, cells=cells, enter_at=ENTER_AT, room=ROOM)

    def arrange(self, batch: Batch) -> Callable[[int], Cells]:
        """Prepare a step; returns where the tokens of a sequence are to be put."""
        streams = self.pool.arrange(batch)
        assert sorted(streams.values()) == list(range(len(streams))), "a gap between streams"
        self.pool.check()

        def held_of(sequence: int) -> Cells:
            stream = streams.get(sequence)
            assert (stream is None) == (sequence not in self.pool), "a stream is not used"
            return self._library.setdefault(sequence, []) if stream is None else self.held[stream]

        return held_of

    def enter(self, sequence: int, stream: int) -> int | None:
        """Take all of it, and leave half of it in the library."""
        cells = self._library.setdefault(sequence, [])
        assert not self.held[stream], "the stream is taken"
        if self.refuses:
            return None
        self.entered += 1
        self.held[stream] = list(cells)
        del cells[len(cells) // 2 :]
        return len(cells)

    def store(self, stream: int, sequence: int, start: int) -> None:
        """Append what the library does not have."""
        cells = self._library[sequence]
        assert len(cells) == start, "a hole in the library"
        cells += self.held[stream][start:]

    def leave(self, stream: int, sequence: int, start: int) -> None:
        """Append what the library does not have, and forget the rest."""
        self.store(stream, sequence, start)
        self.held[stream] = []

    def move(self, source: int, target: int) -> None:
        """Move the list."""
        assert not self.held[target], "the stream is taken"
        self.moved += 1
        self.held[source], self.held[target] = [], self.held[source]

    def cut(self, stream: int, start: int) -> None:
        """Forget the end."""
        del self.held[stream][start:]

    def end(self, stream: int) -> int:
        """Tokens the stream holds."""
        return len(self.held[stream])
