"""One step: what a decode computes, and for which sequences."""

from dataclasses import dataclass, field

from roost_inference.batch import Batch
from roost_inference.kv.cache import KvCache
from roost_inference.scheduling.drafts import Draft, Verified
from roost_inference.sequence import Sequence


@dataclass(slots=True)
class Row:
    """`count` tokens of a sequence in this step; `output` is the batch row with logits, if the
    last token of the sequence is among them; `first_output` the first row, if all have logits."""

    sequence: Sequence
    count: int
    output: int | None
    first_output: int | None = None
    # What is verified after the last token, and the batch row of its first token.
    draft: Draft | None = None
    draft_row: int = 0
    # The batch row of its first token, and that token's position.
    begin: int = 0
    start: int = 0

    @property
    def drafted(self) -> int:
        """How many drafted tokens the step verifies for this sequence."""
        return 0 if self.draft is None else len(self.draft.tokens)

    def verified(self) -> Verified:
        """Its tokens that were computed and are part of the text."""
        rows: list[int] | range = range(self.begin, self.begin + self.count)
        if accepted := self.sequence.computed - self.start - self.count:
            rows = [*rows, *range(self.draft_row, self.draft_row + accepted)]
        return Verified(self.sequence, self.start, rows)


@dataclass(slots=True)
class Step:
    """Rows of prompts or rows of answers, never both.

    work: the sum over the batch rows of the tokens before each; outputs: batch rows that yield
    logits; decoding: sequences that get a token; expected_ms: what the step should take.
    """

    batch: Batch
    rows: list[Row] = field(default_factory=list)
    decoding: int = 0
    prefill_tokens: int = 0
    draft_tokens: int = 0
    outputs: int = 0
    work: float = 0.0
    expected_ms: float = 0.0

    def add_prompt(self, sequence: Sequence, sequence_id: int, count: int) -> None:
        """Add the next `count` tokens of a prompt; its last token asks for logits."""
        start, last = sequence.computed, count == sequence.pending
        tokens = sequence.tokens.view[start : start + count]
        tells = sequence.tells_prompt
        row = self.batch.add(tokens, start, sequence_id, output=last, every_output=tells)
        begin = row - count + 1
        first = begin if tells else None
        self.rows.append(
            Row(sequence, count, row if last else None, first, begin=begin, start=start)
        )
        self.prefill_tokens += count
        self.outputs += count if tells else last
        self.work += count * (start + count / 2)

    def add_answers(self, sequences: list[Sequence], ids: list[int]) -> None:
        """Add the last token of each answer, all at once: every generated token comes this way."""
        positions = [sequence.computed for sequence in sequences]
        self.batch.add_last([sequence.tokens.last for sequence in sequences], positions, ids)
        self.rows = [
            Row(sequence, 1, at, begin=at, start=positions[at])
            for at, sequence in enumerate(sequences)
        ]
        self.decoding = self.outputs = len(ids)
        self.work = float(sum(positions))

    def add_draft(self, row: Row, sequence_id: int, draft: Draft) -> None:
        """Add a draft behind a row that is in the step already."""
        start, count = len(row.sequence.tokens), len(draft.tokens)
        last = self.batch.add(draft.tokens, start, sequence_id, every_output=True)
        row.draft, row.draft_row = draft, last - count + 1
        self.draft_tokens += count
        self.outputs += count
        self.work += count * start

    def verified(self) -> list[Verified]:
        """The tokens that the step computed and that are part of the texts of sequences which go
        on. Call it when the step has been accounted for."""
        return [row.verified() for row in self.rows if row.sequence.sequence_id is not None]

    def undo(self, cache: KvCache) -> None:
        """The step was not computed: its cells are free again, its tokens pending as before."""
        for row in self.rows:
            sequence = row.sequence
            if sequence.sequence_id is not None:
                sequence.computed = cache.rollback(sequence.sequence_id, sequence.computed)
