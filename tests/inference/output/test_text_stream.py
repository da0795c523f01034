"""Tokens become text only when nothing can take it back."""

import itertools
import random

import pytest

from roost_inference.output.detokenizer import TextStream, held_back


def stream(*stop: str) -> TextStream:
    return TextStream(lambda token: bytes([token]), stop)


def pushed(text: TextStream, data: bytes) -> list[str]:
    return [piece.text if (piece := text.push(byte)) else "" for byte in data]


def test_a_character_of_several_tokens_comes_whole() -> None:
    pieces = pushed(stream(), "é🙂".encode())
    assert pieces == ["", "é", "", "", "", "🙂"]


def test_every_token_is_handed_over_once_and_in_order() -> None:
    text, data = stream("##"), "naïve #1 🙂 # end".encode()
    pieces = [piece for byte in data if (piece := text.push(byte))]
    last = text.finish()
    if last is not None:
        pieces.append(last)
    assert [token for piece in pieces for token in piece.tokens] == list(data)
    assert "".join(piece.text for piece in pieces) == data.decode()


def test_invalid_bytes_become_replacement_characters_and_nothing_is_stuck() -> None:
    assert "".join(pushed(stream(), b"a\xff\xfeb")) == "a\ufffd\ufffdb"


def test_an_unfinished_character_is_dropped_at_the_end() -> None:
    text = stream()
    assert pushed(text, b"ok\xf0\x9f") == ["o", "k", "", ""]
    last = text.finish()
    assert last is not None and last.text == "" and last.tokens == (0xF0, 0x9F)


def test_the_start_of_a_stop_string_is_held_back_until_it_is_none() -> None:
    assert pushed(stream("STOP"), b"xSTOx") == ["x", "", "", "", "STOx"]


def test_a_stop_string_ends_the_text_before_it() -> None:
    text = stream("END", "never")
    pieces = pushed(text, b"abcEND")
    assert "".join(pieces) == "abc"
    assert text.stop_string == "END"
    last = text.finish()
    assert last is not None and last.text == "" and bytes(last.tokens) == b"END"


def test_the_earliest_of_several_stop_strings_counts() -> None:
    text = TextStream(lambda token: b"one then two", ("two", "then"))
    piece = text.push(0)
    assert piece is not None and piece.text == "one "
    assert text.stop_string == "then"


def test_held_text_is_given_out_at_the_end() -> None:
    text = stream("STOP")
    pushed(text, b"well ST")
    last = text.finish()
    assert last is not None and last.text == "ST"


@pytest.mark.parametrize(
    ("text", "stop", "length"),
    [("abc", ("cd",), 1), ("abc", ("x",), 0), ("aab", ("abab", "b!"), 2), ("", ("a",), 0)],
)
def test_only_the_longest_possible_beginning_is_held(
    text: str, stop: tuple[str, ...], length: int
) -> None:
    assert held_back(text, stop) == length


def test_any_split_into_tokens_gives_the_same_text() -> None:
    rng = random.Random(7)
    for _ in range(200):
        data = "".join(rng.choice("ab🙂é#") for _ in range(30)).encode()
        cuts = sorted({0, len(data), *(rng.randrange(len(data)) for _ in range(8))})
        parts = [data[a:b] for a, b in itertools.pairwise(cuts)]
        text = TextStream(parts.__getitem__, ("a#b",))
        given = [text.push(token) for token in range(len(parts)) if text.stop_string is None]
        given.append(text.finish())
        expected = data.decode().split("a#b")[0]
        assert "".join(piece.text for piece in given if piece) == expected
