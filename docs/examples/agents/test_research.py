from research import engineer, research
from roost.testing import ScriptedModel, call, run_agent

QUESTION = "Should the school get heat pumps?"


async def test_three_agents_work_at_once_and_one_answer_comes() -> None:
    model = ScriptedModel(
        [call(name, task=QUESTION) for name in ("engineer", "economist", "sceptic")],
        lambda messages: " / ".join(message["content"] for message in messages[-3:]),
    )
    children = {
        "engineer": "They work.",
        "economist": "It pays in nine years.",
        "sceptic": "The roof leaks.",
    }
    run = await run_agent(research, QUESTION, model=model, children=children)
    assert run.text == "They work. / It pays in nine years. / The roof leaks."
    assert run.steps == 2


async def test_an_agent_of_the_three_is_tested_by_itself() -> None:
    model = ScriptedModel(call("look_up", subject="Heat pumps"), "Three to one.")
    run = await run_agent(engineer, QUESTION, model=model)
    assert "three units" in run.calls[0].outcome.text
