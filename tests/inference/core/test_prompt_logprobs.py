"""Logprobs of a prompt: each token after those before it, whatever is cached and whoever writes."""

import numpy as np
import pytest

from roost_inference.engine import Engine
from roost_inference.errors import InvalidRequest
from roost_inference.output.logprobs import PROMPT_LOGPROBS_TOKENS_MAX
from roost_inference.request import PromptToken, SamplingParams
from roost_inference.scheduling.scheduler import PROMPT_OUTPUTS_MAX
from roost_inference.testing.harness import Collector, drive, request, toy_engine, toy_store
from roost_inference.testing.toy import SIZE, ToyBackend, next_token

PROMPT = "the prompt whose tokens are told, each after those before it"


def told(heard: Collector) -> list[PromptToken | None]:
    found = heard.finish.prompt_logprobs
    assert found is not None
    return list(found)


def check_toy(heard: Collector, prompt: str = PROMPT) -> None:
    """The logprobs are those that the toy's logits give."""
    found, tokens = told(heard), list(prompt.encode())
    assert len(found) == len(tokens) and found[0] is None
    for at, each in enumerate(found[1:], 1):
        assert each is not None
        logits = np.linspace(0.0, 1.0, SIZE)
        logits[next_token(tokens[:at])] = 8.0
        expected = logits[tokens[at]] - np.log(np.exp(logits).sum())
        assert each.found.token == tokens[at]
        assert each.found.logprob == pytest.approx(expected, abs=1e-5)
        assert each.rank == int((logits > logits[tokens[at]]).sum()) + 1
        assert each.found.top[0].token == next_token(tokens[:at])


@pytest.mark.parametrize("background_cells", [0, 512])
def test_every_token_of_a_prompt_is_told_also_when_it_is_cached(background_cells: int) -> None:
    backend = ToyBackend(background_cells=background_cells)
    engine = toy_engine(backend, store=toy_store())
    for _ in range(2):
        plain, telling = Collector(), Collector()
        engine.submit(request(PROMPT, 4, session_id="s"), plain)
        drive(engine)
        engine.submit(request(PROMPT, 4, session_id="s", prompt_logprobs=2), telling)
        drive(engine)
        check_toy(telling)
        assert telling.tokens == plain.tokens
        assert telling.finish.usage.cached_tokens == 0, "all of it is computed"
        assert plain.finish.prompt_logprobs is None


def test_a_step_never_has_more_rows_with_logits_than_the_kernels_keep() -> None:
    backend, outputs = ToyBackend(sequences=6), []
    backend.on_decode = lambda batch: outputs.append(int(batch.outputs[: batch.size].sum()))
    engine = toy_engine(backend, max_running=5)
    heard = [Collector() for _ in range(5)]
    for number, listener in enumerate(heard):
        prompt = f"{number} {PROMPT}"
        engine.submit(request(prompt, 6, prompt_logprobs=1 if number % 2 else None), listener)
    drive(engine)
    assert max(outputs) <= min(PROMPT_OUTPUTS_MAX, backend.sequences)
    for number in (1, 3):
        check_toy(heard[number], f"{number} {PROMPT}")


def test_a_preempted_prompt_is_told_once_and_whole() -> None:
    backend = ToyBackend(cells=160, sequences=8)
    engine, low, high = toy_engine(backend, store=toy_store()), Collector(), Collector()
    engine.submit(request(PROMPT, 20, priority=2, prompt_logprobs=2), low)
    for _ in range(4):
        engine.step()
    engine.submit(request("h" * 120, 4, cache_salt="other"), high)
    drive(engine)
    check_toy(low)


def test_an_abort_while_a_prompt_is_told_frees_it() -> None:
    engine, heard = toy_engine(), Collector()
    engine.submit(request(PROMPT, 4, id="r", prompt_logprobs=0), heard)
    engine.step()
    engine.abort("r")
    drive(engine)
    assert heard.finish.reason == "abort" and engine.stats().running == 0


def test_a_prompt_too_long_to_be_told_is_refused() -> None:
    engine = toy_engine(ToyBackend(cells=2 * PROMPT_LOGPROBS_TOKENS_MAX))
    with pytest.raises(InvalidRequest) as refused:
        engine.submit(
            request("x" * (PROMPT_LOGPROBS_TOKENS_MAX + 1), 4, prompt_logprobs=0), Collector()
        )
    assert refused.value.param == "prompt_logprobs"


def test_a_real_models_answer_read_as_a_prompt_is_as_likely_as_when_it_was_written(
    engine: Engine,
) -> None:
    prompt = engine.tokenize("<|im_start|>user\nName a river.<|im_end|>\n<|im_start|>assistant\n")
    sampling = SamplingParams(temperature=0.0, top_logprobs=1)
    wrote, read = Collector(), Collector()
    engine.submit(request(prompt, 20, sampling=sampling, cache_salt="told"), wrote)
    wrote.wait()
    whole = [*prompt, *wrote.tokens]
    engine.submit(request(whole, 1, cache_salt="told", prompt_logprobs=1), read)
    read.wait()
    found = told(read)
    assert len(found) == len(whole)
    for written, each in zip(wrote.logprobs, found[len(prompt) :], strict=True):
        assert each is not None and each.found.token == written.token
        assert each.found.logprob == pytest.approx(written.logprob, abs=0.2)
