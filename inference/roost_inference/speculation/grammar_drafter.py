"""Drafts what a grammar dictates: keys, quotes and brackets where nothing else is allowed."""

from collections.abc import Sequence as Many

from roost_inference.sequence import Sequence
from roost_inference.speculation.drafter import Proposal


class GrammarDrafter:
    """Proposes the tokens that llguidance calls forced.

    They are verified as others are: the bytes are forced, but the model may write them with other
    tokens, and the answer must have the tokens that it would have had.
    """

    name = "grammar"

    def prior(self, slot: int) -> float:
        """High: only the cut into tokens is uncertain."""
        return 0.95

    def cost_ms(self, sequences: int, depth: int) -> float:
        """It costs next to nothing."""
        return 0.0

    def propose(self, sequences: Many[Sequence], depth: int) -> list[Proposal | None]:
        """The forced tokens of each sequence with a grammar."""
        proposals: list[Proposal | None] = []
        for sequence in sequences:
            grammar = sequence.sampler.grammar
            forced = [] if grammar is None else grammar.forced()[:depth]
            proposals.append(Proposal(forced) if forced else None)
        return proposals

    def forget(self, sequence: Sequence, *, finished: bool) -> None:
        """It keeps nothing of a sequence."""

    def close(self) -> None:
        """It holds nothing."""
