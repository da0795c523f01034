"""What ends a text, and where: stop strings, stop tokens, and the least length."""

import itertools
import random

import pytest

from roost_inference.errors import InvalidRequest
from roost_inference.output.detokenizer import TextStream
from roost_inference.request import SamplingParams, TokenLogprob
from roost_inference.testing.harness import Collector, drive, request, toy_engine
from roost_inference.testing.toy import END, continuation

STOPS = ("a#b", "#", "🙂é", "bb", "b#ba", "é")


def split(data: bytes, rng: random.Random) -> list[bytes]:
    """The bytes cut into tokens anywhere, also within characters."""
    cuts = sorted({0, len(data), *(rng.randrange(len(data)) for _ in range(8))})
    return [data[a:b] for a, b in itertools.pairwise(cuts)]


def read(parts: list[bytes], stop: tuple[str, ...], **fields: bool) -> tuple[str, TextStream]:
    text = TextStream(parts.__getitem__, stop, **fields)  # type: ignore[arg-type]
    given = []
    for token, data in enumerate(parts):
        given.append(text.push(token, TokenLogprob(token, data, 0.0)))
        if text.stop_string is not None:
            break
    given.append(text.finish())
    return "".join(piece.text for piece in given if piece), text


def first_complete(text: str, stop: tuple[str, ...]) -> tuple[str, str | None]:
    """The text before the stop string that is complete first, character by character."""
    for end in range(1, len(text) + 1):
        ending = [one for one in stop if text[:end].endswith(one)]
        if ending:
            longest = max(ending, key=len)
            return text[: end - len(longest)], longest
    return text, None


@pytest.mark.parametrize("includes_stop", [False, True])
def test_the_stop_string_that_is_complete_first_cuts_however_tokens_fall(
    includes_stop: bool,
) -> None:
    rng = random.Random(11)
    for _ in range(400):
        whole = "".join(rng.choice("ab🙂é#") for _ in range(24))
        stop = tuple(rng.sample(STOPS, rng.randint(1, 4)))
        before, found = first_complete(whole, stop)
        text, state = read(split(whole.encode(), rng), stop, includes_stop=includes_stop)
        assert (text, state.stop_string) == (
            before + (found or "" if includes_stop else ""),
            found,
        )


def test_logprobs_of_a_text_that_a_stop_string_cuts_are_those_of_its_tokens() -> None:
    rng = random.Random(12)
    for _ in range(300):
        whole = "".join(rng.choice("ab🙂é#") for _ in range(24))
        parts = split(whole.encode(), rng)
        text = TextStream(parts.__getitem__, ("b#", "🙂🙂"))
        logprobs: list[TokenLogprob] = []
        said = ""
        for token, data in enumerate(parts):
            piece = text.push(token, TokenLogprob(token, data, 0.0))
            said += piece.text if piece else ""
            logprobs += piece.logprobs if piece else ()
            if text.stop_string is not None:
                break
        last = text.finish()
        said += last.text if last else ""
        logprobs += last.logprobs if last else ()
        joined, wanted = b"".join(p.data for p in logprobs), said.encode()
        assert joined.startswith(wanted)
        if logprobs:  # the last token begins within the text
            assert len(joined) - len(logprobs[-1].data) < len(wanted)


def test_a_text_without_stop_is_the_join_of_its_logprobs() -> None:
    rng = random.Random(13)
    for _ in range(100):
        whole = "".join(rng.choice("ab🙂é日") for _ in range(24))
        parts = split(whole.encode(), rng)
        text = TextStream(parts.__getitem__)
        logprobs: list[TokenLogprob] = []
        for token, data in enumerate(parts):
            piece = text.push(token, TokenLogprob(token, data, 0.0))
            logprobs += piece.logprobs if piece else ()
        assert b"".join(p.data for p in logprobs) == whole.encode()


def run(prompt: str, max_tokens: int = 24, **fields: object) -> Collector:
    engine, heard = toy_engine(), Collector()
    engine.submit(request(prompt, max_tokens, **fields), heard)
    drive(engine)
    return heard


def greedy(prompt: str, count: int = 24) -> list[int]:
    """What the toy says where nothing ends it; the seldom END is left out."""
    return [token for token in continuation(list(prompt.encode()), count) if token != END]


def test_a_stop_token_ends_the_text_and_is_named() -> None:
    said = greedy("stop at a token")
    stop = next(token for token in said[4:] if token not in said[:4])
    at = said.index(stop)
    heard = run("stop at a token", stop_tokens=frozenset({stop, 7}))
    assert heard.tokens == said[:at]
    assert (heard.finish.reason, heard.finish.stop_token) == ("stop", stop)
    assert heard.finish.end_token == stop and heard.finish.usage.completion_tokens == at + 1
    included = run("stop at a token", stop_tokens=frozenset({stop}), includes_stop=True)
    assert included.tokens == said[: at + 1] and included.finish.end_token is None


def ends_early() -> str:
    """A prompt whose greedy answer ends within a few tokens."""
    return next(
        text
        for text in (f"prompt {number}" for number in range(1000))
        if 1 < len(continuation(list(text.encode()), 12)) < 8
        and continuation(list(text.encode()), 12)[-1] == END
    )


@pytest.mark.parametrize("temperature", [0.0, 3.0])
def test_nothing_ends_an_answer_before_its_least_length(temperature: float) -> None:
    prompt = ends_early()
    sampling = SamplingParams(temperature=temperature, seed=3, logit_bias={END: 60.0})
    for least in (0, 1, 5, 12):
        heard = run(prompt, 20, min_tokens=least, sampling=sampling)
        assert heard.finish.reason == "stop" and heard.finish.end_token == END
        assert heard.finish.usage.completion_tokens == least + 1, "END is the likeliest by far"
    plain = run(prompt, 20, min_tokens=12)
    assert plain.finish.usage.completion_tokens > 12


def test_stop_strings_and_stop_tokens_wait_for_the_least_length() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz "
    heard = run("least", 30, min_tokens=6, stop=tuple(letters))
    assert heard.finish.usage.completion_tokens == 7 and len(heard.text) == 6
    sampling = SamplingParams(temperature=0.0, logit_bias={7: 50.0})
    heard = run("least", 30, min_tokens=6, stop_tokens=frozenset({7}), sampling=sampling)
    assert 7 not in heard.tokens and len(heard.tokens) == 6 and heard.finish.stop_token == 7


def test_a_grammar_ends_the_answer_whatever_the_least_length_is() -> None:
    heard = run("grammar", 30, min_tokens=20, grammar='start: "yes" | "no"')
    assert heard.text in ("yes", "no") and heard.finish.reason == "stop"
    heard = run("grammar", 30, min_tokens=9, grammar="start: /[ab]*/")
    assert len(heard.text) >= 9


def test_an_end_that_is_ignored_is_written_only_where_a_grammar_allows_nothing_else() -> None:
    for temperature in (0.0, 2.0):
        sampling = SamplingParams(temperature=temperature, seed=1, logit_bias={END: 60.0})
        fields: dict[str, object] = {"ignore_eos": True, "sampling": sampling}
        heard = run("grammar", 30, grammar="start: /[ab]*/", **fields)
        assert heard.finish.reason == "length" and set(heard.text) <= set("ab")
        assert len(heard.text) == 30
        heard = run("grammar", 30, grammar="start: /[ab]{3}/", **fields)
        assert heard.finish.reason == "stop" and len(heard.text) == 3


def test_ignoring_the_end_does_not_ignore_stops() -> None:
    prompt = ends_early()
    said = run(prompt, 40, ignore_eos=True)
    assert said.finish.usage.completion_tokens == 40 and said.finish.reason == "length"
    stop = said.text[20:23]
    heard = run(prompt, 40, ignore_eos=True, stop=(stop,))
    assert heard.text == said.text[: said.text.index(stop)] and heard.finish.stop_string == stop


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stop_tokens": frozenset({257})}, "stop_token_ids"),
        ({"min_tokens": 30}, "min_tokens"),
    ],
)
def test_endings_that_can_not_be_are_refused(fields: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        run("refused", 24, **fields)
    assert refused.value.param == param
