"""Drafts that a grammar dictates: keys, quotes and brackets that can be nothing else."""

from collections.abc import Sequence as Many

from roost_inference.sequence import Sequence
from roost_inference.speculation.drafter import Proposal


class GrammarDrafter:
    """`grammar`: the tokens llguidance would fast-forward to.

    They are verified like others: the bytes are forced, but the model may cut them into other
    tokens, and the text must be what it would have been.
    """

    name = "grammar"

    def prior(self, slot: int) -> float:
        return 0.95

    def cost_ms(self, sequences: int, depth: int) -> float:
        return 0.0

    def propose(self, sequences: Many[Sequence], depth: int) -> list[Proposal | None]:
        proposals: list[Proposal | None] = []
        for sequence in sequences:
            grammar = sequence.sampler.grammar
            forced = [] if grammar is None else grammar.forced()[:depth]
            proposals.append(Proposal(forced) if forced else None)
        return proposals

    def forget(self, sequence: Sequence, *, finished: bool) -> None:
        pass

    def close(self) -> None:
        pass
