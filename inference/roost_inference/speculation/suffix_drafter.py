"""Drafts by copying from the sequence's own text, or from earlier answers under its salt."""

from collections.abc import Sequence as Many
from dataclasses import dataclass, field

from roost_inference.sequence import Sequence
from roost_inference.speculation.corpus import Corpus
from roost_inference.speculation.drafter import SLOTS, Proposal
from roost_inference.speculation.suffix import FOLLOW_MIN, SuffixIndex, SuffixMatch

# Only the end of a longer prompt is indexed, which takes about 10 ms and 4 MB.
INDEXED_TOKENS_MAX = 32768
# Every answer of a chat begins after the same few prompt tokens, so these are poor evidence: in a
# match a generated token counts this much, and at most this many prompt tokens count.
GENERATED_WEIGHT = 2
PROMPT_TOKENS_MAX = 2


@dataclass(slots=True)
class _Text:
    """A sequence's tokens from `start` on, indexed, and the match that its drafts follow."""

    start: int
    index: SuffixIndex = field(default_factory=SuffixIndex)
    source: SuffixIndex | None = None
    match: SuffixMatch | None = None

    def advance(self, sequence: Sequence) -> None:
        """Index what was generated since, and move the match along while it holds."""
        known = self.start + len(self.index)
        if known == len(sequence.tokens):
            return
        new = sequence.tokens.view[known:].tolist()
        if self.match is not None and self.source is not None:
            text, end = self.source.tokens, self.match.end
            followed = 0
            while followed < len(new) and end + followed < len(text):
                if text[end + followed] != new[followed]:
                    break
                followed += 1
            holds = followed == len(new)
            self.match = (
                SuffixMatch(end + followed, self.match.length + followed) if holds else None
            )
        self.index.extend(new)


class SuffixDrafter:
    """Proposes what followed the last time that the text ended like this.

    A sequence is indexed when its answer begins and forgotten when it ends, so the number of
    running sequences bounds the indexes.
    """

    name = "suffix"

    def __init__(self, corpus_tokens: int) -> None:
        self.corpus = Corpus(corpus_tokens)
        self._texts: dict[str, _Text] = {}

    def __len__(self) -> int:
        return len(self._texts)

    def prior(self, slot: int) -> float:
        """As measured on chats and tool results: what follows a short match is mostly chance."""
        return 0.15 + 0.1 * slot if slot < 8 else 0.95 if slot < 16 else 0.98

    def cost_ms(self, sequences: int, depth: int) -> float:
        """It costs a few microseconds."""
        return 0.0

    def propose(self, sequences: Many[Sequence], depth: int) -> list[Proposal | None]:
        """What followed the longest match of each sequence."""
        return [self._propose(sequence, depth) for sequence in sequences]

    def _propose(self, sequence: Sequence, depth: int) -> Proposal | None:
        text = self._texts.get(sequence.id)
        if text is None:
            text = _Text(max(0, len(sequence.tokens) - INDEXED_TOKENS_MAX))
            self._texts[sequence.id] = text
        text.advance(sequence)
        match, source = text.match, text.source
        if match is None or match.length < FOLLOW_MIN or source is None or _ends(match, source):
            match, source = self._search(text.index, sequence.request.session.cache_salt)
            text.match, text.source = match, source
        if match is None or source is None:
            return None
        return Proposal(source.following(match, depth), _slot(match, sequence))

    def _search(
        self, own: SuffixIndex, cache_salt: str
    ) -> tuple[SuffixMatch | None, SuffixIndex | None]:
        """The longest match; of equals the one in the sequence's own text."""
        match, source = own.longest(own.tokens), own
        for index in self.corpus.indexes(cache_salt):
            other = index.longest(own.tokens)
            if other is not None and (match is None or other.length > match.length):
                match, source = other, index
        return match, source

    def forget(self, sequence: Sequence, *, finished: bool) -> None:
        """Drop the index of the sequence; a finished answer joins the corpus of its salt."""
        self._texts.pop(sequence.id, None)
        if finished:
            answer = sequence.tokens.view[sequence.prompt_length :].tolist()
            self.corpus.add(sequence.request.session.cache_salt, answer)

    def close(self) -> None:
        """Drop all indexes."""
        self._texts.clear()


def _slot(match: SuffixMatch, sequence: Sequence) -> int:
    """How good the evidence is that the sequence goes on like the match."""
    generated = min(match.length, sequence.generated)
    prompt = min(match.length - generated, PROMPT_TOKENS_MAX)
    return min(GENERATED_WEIGHT * generated + prompt, match.length, SLOTS - 1)


def _ends(match: SuffixMatch, source: SuffixIndex) -> bool:
    """Whether nothing follows the match any more."""
    return match.end >= len(source) or source.tokens[match.end] < 0
