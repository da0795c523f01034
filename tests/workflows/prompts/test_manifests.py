"""Each model call keeps a manifest, which is true of what the engine got by HTTP."""

from uuid import uuid4

from roost import Agent, ModelSettings, tool
from roost_workflows.definitions.versions import sha256, version_of
from roost_workflows.ports import TranscriptMessage
from roost_workflows.testing.lab import Lab
from roost_workflows.turn.manifest import stretches


@tool(effect="pure")
def look(place: str) -> str:
    """Look at a place."""
    return f"{place} is fine"


AGENT = Agent(
    "looker",
    "You look.",
    [look],
    ModelSettings(temperature=0.3, repetition_penalty=1.1, stop=("END",)),
)


async def test_each_model_call_has_a_manifest_that_matches_what_the_engine_got(lab: Lab) -> None:
    talk = f"talk-{uuid4().hex[:12]}"
    async with lab.worker(AGENT):
        for number, said in ((1, '[[tool:look {"place": "Rome"}]]'), (2, "and 🦉\n\n„so“?")):
            await lab.say(talk, said)
            await lab.turn(talk, number)
    steps = [step for turn in lab.store.turns(talk) for step in turn.steps.values()]
    assert len(steps) == len(lab.engine.requests) == 3
    positions = []
    for step, body in zip(steps, lab.engine.requests, strict=True):
        assert step.asked is not None
        manifest = step.asked.manifest
        assert manifest["prompt_hash"] == sha256(body["messages"])
        assert manifest["tools_hash"] == sha256(body["tools"])
        assert manifest["agent_hash"] == version_of(AGENT).digest
        assert manifest["model"]
        sampling = manifest["sampling"]
        assert sampling == {name: body[name] for name in sampling}
        assert {"temperature", "max_tokens", "stop", "repetition_penalty"} == set(sampling)
        assert (manifest["segments"], manifest["memories"]) == ([], [])
        positions.append(manifest["positions"])
    assert positions == [[[0, 0]], [[0, 2]], [[0, 4]]]
    assert len({step.asked.manifest["prompt_hash"] for step in steps if step.asked}) == 3


def test_positions_are_stretches_of_what_is_shown() -> None:
    assert stretches([]) == []
    assert stretches([4]) == [[4, 4]]
    assert stretches([0, 1, 2, 7, 8]) == [[0, 2], [7, 8]]
    # A forked child shows its parent's transcript, then its own.
    assert stretches([0, 1, 2, 0, 1]) == [[0, 2], [0, 1]]
    assert TranscriptMessage("system", "left out").position is None
