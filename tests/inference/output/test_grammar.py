"""Grammars are compiled once, refused clearly, and followed token by token."""

import pytest

from roost_inference.errors import BadGrammar, EngineFailed
from roost_inference.output import grammar as module
from roost_inference.output.grammar import GrammarCompiler
from roost_inference.testing.toy import END, SIZE, ToyVocabulary


@pytest.fixture
def compiler() -> GrammarCompiler:
    return GrammarCompiler(ToyVocabulary().grammar_tokenizer(), SIZE)


@pytest.mark.parametrize("text", ["", "  ", "start: missing", "start: /(/", '{"grammars": 3}'])
def test_a_bad_grammar_is_refused_with_its_reason(compiler: GrammarCompiler, text: str) -> None:
    with pytest.raises(BadGrammar, match="grammar"):
        compiler.compile(text)
    assert len(compiler) == 0


def test_two_requests_with_one_grammar_go_on_separately(compiler: GrammarCompiler) -> None:
    first, second = compiler.compile('start: "ab"'), compiler.compile('start: "ab"')
    first.accept(ord("a"))
    assert first.allowed().nonzero()[0].tolist() == [ord("b")]
    assert second.allowed().nonzero()[0].tolist() == [ord("a")]
    assert len(compiler) == 1


def test_only_the_last_grammars_are_kept(
    compiler: GrammarCompiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMPILED_GRAMMARS_KEPT", 3)
    for number in range(5):
        compiler.compile(f'start: "{number}"')
    assert len(compiler) == 3


def test_the_end_is_allowed_exactly_when_the_grammar_may_end(compiler: GrammarCompiler) -> None:
    grammar = compiler.compile('start: "a" "b"*')
    assert not grammar.allowed()[END]
    grammar.accept(ord("a"))
    assert grammar.allowed()[END] and not grammar.is_complete


def test_a_token_outside_the_grammar_is_an_engine_failure(compiler: GrammarCompiler) -> None:
    grammar = compiler.compile('start: "a"')
    with pytest.raises(EngineFailed):
        grammar.accept(ord("z"))


@pytest.mark.parametrize("text", ['start: "x" start', 'start: "a" "b" rest\nrest: "x" rest'])
def test_a_text_that_has_to_go_on_for_ever_is_refused_before_it_begins(
    compiler: GrammarCompiler, text: str
) -> None:
    with pytest.raises(BadGrammar, match="can't be followed"):
        compiler.compile(text)


def test_a_text_without_end_that_is_chosen_is_the_fault_of_the_grammar(
    compiler: GrammarCompiler,
) -> None:
    grammar = compiler.compile('start: "a" | "b" rest\nrest: "x" rest')
    grammar.accept(ord("b"))
    with pytest.raises(BadGrammar, match="can't be followed"):
        while True:
            grammar.forced()  # as its drafter asks
            grammar.accept(ord("x"))
