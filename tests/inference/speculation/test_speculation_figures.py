"""Speculation on the wire: vLLM's names in answers and in the scraped figures."""

from dataclasses import replace

from roost_inference.http.generation import Finished
from roost_inference.http.metrics import EngineMetrics
from roost_inference.http.replies import Wanted, completion
from roost_inference.request import DrafterFigures, EngineStats, SpeculationFigures, Usage
from roost_inference.testing.puppet import PuppetEngine

FIGURES = SpeculationFigures(
    depth_max=16,
    steps=4,
    draft_tokens=20,
    accepted_tokens=10,
    histogram=(1, 1, 0, 1, 0, 0, 1),
    accepted_by_drafter={"suffix": 10},
    by_draft_length={2: (1, 1, 0), 8: (0, 0, 0, 1, 0, 0, 1, 0, 0)},
)


def answered(speculation: SpeculationFigures | None) -> dict:  # type: ignore[type-arg]
    end = Finished("stop", Usage(3, 0, 14), None, speculation)
    return completion([end], id="a", model="m", created=0, wanted=Wanted())


def test_an_answer_tells_what_was_drafted_for_it() -> None:
    found = answered(FIGURES)["metrics"]["speculative_decoding"]
    assert found["mean_acceptance_length"] == 3.5
    assert found["draft_acceptance_rate"] == 0.5
    assert found["acceptance_histogram"] == [1, 1, 0, 1, 0, 0, 1, *[0] * 10]
    by_length = found["acceptance_histogram_by_draft_length"]
    assert by_length == {"2": [1, 1, 0], "8": [0, 0, 0, 1, 0, 0, 1, 0, 0]}
    assert (found["num_spec_steps"], found["num_spec_tokens"]) == (4, 16)
    assert (found["num_draft_tokens"], found["num_accepted_draft_tokens"]) == (20, 10)
    assert "metrics" not in answered(None)


class Drafting(PuppetEngine):
    def stats(self) -> EngineStats:
        drafters = {
            "grammar": DrafterFigures(2, 4, 4, (2, 2)),
            "suffix": DrafterFigures(4, 20, 10, (3, 2, 2)),
        }
        return replace(super().stats(), speculation=drafters)


def test_drafts_are_scraped_in_all_and_by_drafter_and_position() -> None:
    text = EngineMetrics(Drafting()).text().decode()
    for line in (
        'vllm:spec_decode_num_drafts_total{model_name="puppet"} 6.0',
        'vllm:spec_decode_num_draft_tokens_total{model_name="puppet"} 24.0',
        'vllm:spec_decode_num_accepted_tokens_total{model_name="puppet"} 14.0',
        'vllm:spec_decode_num_accepted_tokens_per_pos_total{model_name="puppet",position="0"} 5.0',
        'vllm:spec_decode_num_accepted_tokens_per_pos_total{model_name="puppet",position="2"} 2.0',
        'roost_spec_accepted_tokens_total{drafter="suffix",model_name="puppet"} 10.0',
    ):
        assert line in text
    by_position = 'roost_spec_accepted_tokens_per_pos_total{drafter="grammar",'
    assert by_position + 'model_name="puppet",position="1"} 2.0' in text
