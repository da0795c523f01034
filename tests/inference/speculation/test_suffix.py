"""Copies are found wherever they are longest, and nothing grows without bound."""

import random

from roost_inference.sequence import Sequence
from roost_inference.speculation import suffix
from roost_inference.speculation.corpus import Corpus
from roost_inference.speculation.suffix import MATCH_MAX, SEPARATOR, SuffixIndex, SuffixMatch
from roost_inference.speculation.suffix_drafter import SuffixDrafter
from roost_inference.testing.harness import Collector, request, toy_engine


def tokens(text: str) -> list[int]:
    return list(text.encode())


def sequence(prompt: str, salt: str = "") -> Sequence:
    engine = toy_engine()
    return engine._builder.build(request(prompt, cache_salt=salt), Collector(), 0.0)


def test_the_longest_match_wins_over_a_newer_one() -> None:
    index = SuffixIndex(tokens("xabcdONE__bcdTWO__abcd"))
    match = index.longest(index.tokens)
    assert match == SuffixMatch(5, 4)
    assert bytes(index.following(match, 3)) == b"ONE"


def test_of_equal_matches_the_newer_wins() -> None:
    index = SuffixIndex(tokens("abcONE abcTWO "))
    match = index.longest(tokens("zzabc"))
    assert match is not None
    assert bytes(index.following(match, 3)) == b"TWO"


def test_one_equal_token_is_no_match() -> None:
    assert SuffixIndex(tokens("abcdef")).longest(tokens("xd")) is None
    assert SuffixIndex(tokens("ab")).longest(tokens("b")) is None
    assert SuffixIndex().longest(tokens("ab")) is None


def test_a_repetition_is_continued_beyond_the_end_of_the_text() -> None:
    index = SuffixIndex(tokens("abcabcabc"))
    match = index.longest(index.tokens)
    assert match is not None
    assert bytes(index.following(match, 7)) == b"abcabca"


def test_nothing_matches_across_a_separator() -> None:
    index = SuffixIndex([1, 2, SEPARATOR, 3, 4, 5])
    assert index.longest([2, SEPARATOR]) is None
    assert index.longest([1, 2]) is None, "a separator follows, so nothing does"
    assert index.longest([9, 3, 4]) == SuffixMatch(5, 2)


def test_a_search_looks_at_so_many_candidates_and_no_more(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(suffix, "CANDIDATES_MAX", 3)
    index = SuffixIndex(tokens("Qwertyab!" + "_ab." * 3))
    assert index.longest(tokens("Qwertyab")) == SuffixMatch(20, 2), (
        "the longest is the fourth newest"
    )
    monkeypatch.setattr(suffix, "CANDIDATES_MAX", 4)
    assert index.longest(tokens("Qwertyab")) == SuffixMatch(8, 8)


def test_the_index_agrees_with_a_search_of_everything() -> None:
    rng = random.Random(7)
    for _ in range(60):
        text = [rng.randrange(3) for _ in range(rng.randrange(2, 40))]
        index = SuffixIndex(text[:5])
        index.extend(text[5:])
        found = index.longest(text)
        lengths = {}
        for end in range(2, len(text)):
            length = 0
            while length < min(end, MATCH_MAX) and text[end - 1 - length] == text[-1 - length]:
                length += 1
            lengths[end] = length
        longest = max(lengths.values(), default=0)
        if found is None:
            assert longest < 2
        else:
            assert lengths[found.end] >= found.length >= 2
            newest = sorted((e for e in lengths if lengths[e] >= 2), reverse=True)
            assert found.length == max(lengths[e] for e in newest[: suffix.CANDIDATES_MAX])


def test_a_copy_is_followed_without_a_new_search(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    drafter = SuffixDrafter(0)
    copied = "the quick brown fox jumps over the lazy dog"
    text = sequence(copied + "|" + copied[:12])
    first = drafter.propose([text], 4)[0]
    assert first is not None and bytes(first.tokens) == copied[12:16].encode()
    searches: list[int] = []
    found = SuffixIndex.longest

    def counting(self: SuffixIndex, query: list[int]) -> SuffixMatch | None:
        searches.append(1)
        return found(self, query)

    monkeypatch.setattr(SuffixIndex, "longest", counting)
    for token in copied[12:20].encode():
        text.tokens.append(token)
    again = drafter.propose([text], 4)[0]
    assert again is not None and bytes(again.tokens) == copied[20:24].encode()
    assert again.slot > first.slot and searches == []
    text.tokens.append(ord("#"))
    assert drafter.propose([text], 4)[0] is None and searches


def test_what_was_only_read_alike_counts_less_than_what_was_written_alike() -> None:
    drafter, start = SuffixDrafter(0), "<|end|>assistant:"
    read = sequence(f"{start} I am fine. And now? {start}")
    first = drafter.propose([read], 4)[0]
    assert first is not None and first.slot == 2, "every answer begins after these"
    for token in tokens(" I am"):
        read.tokens.append(token)
    second = drafter.propose([read], 4)[0]
    assert second is not None and second.slot == 12


def test_an_answer_is_a_source_for_its_tenant_and_no_other() -> None:
    drafter = SuffixDrafter(1000)
    first = sequence("q", "alice")
    for token in tokens("the answer to everything"):
        first.tokens.append(token)
    drafter.propose([first], 8)
    drafter.forget(first, finished=True)
    own, foreign = sequence("why? the answer", "alice"), sequence("why? the answer", "bob")
    proposals = drafter.propose([own, foreign], 8)
    assert proposals[0] is not None and bytes(proposals[0].tokens) == b" to ever"
    assert proposals[1] is None
    for text in (own, foreign):
        drafter.forget(text, finished=False)
    assert len(drafter) == 0 and drafter.corpus.salts == ("alice",)


def test_the_corpus_is_bounded_per_tenant_and_in_tenants() -> None:
    corpus = Corpus(100, salts_max=3)
    for number in range(200):
        corpus.add(f"t{number % 5}", [number % 250] * (number % 60))
        assert len(corpus) <= 300 and len(corpus.salts) <= 3
        for salt in corpus.salts:
            assert sum(len(index) for index in corpus.indexes(salt)) <= 100
    corpus.add("long", list(range(250)) * 9)
    assert corpus.indexes("long")[0].tokens[-2] == 249
    assert len(corpus.indexes("long")[0]) <= 50


def test_a_corpus_of_no_tokens_keeps_nothing() -> None:
    corpus = Corpus(0)
    corpus.add("a", [1, 2, 3])
    assert corpus.salts == () and len(corpus) == 0


def test_the_newest_answers_stay() -> None:
    corpus = Corpus(40)
    for number in range(50):
        corpus.add("a", [number, number + 1, number + 2, 200])
    newest = corpus.indexes("a")[0]
    match = newest.longest([49, 50])
    assert match is not None and newest.following(match, 9) == [51, 200]
    assert all(index.longest([1, 2]) is None for index in corpus.indexes("a"))
