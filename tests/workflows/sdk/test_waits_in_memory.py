"""Tools that ask people, in a test: the answers are the test's, and without one the turn waits."""

from roost import Agent, tool
from roost.testing import ScriptedModel, call, run_agent
from roost.waits import Approve, Ask, Question, Sleep, Spawn


@tool(effect="pure")
async def choose(question: str) -> Ask:
    """Ask the person."""
    return Ask((Question(question, ("Rome", "Paris")),))


@tool(effect="pure")
async def form() -> Ask:
    """Ask for two things."""
    return Ask((Question("Name?"), Question("Size?")))


@tool(effect="pure")
async def confirm() -> Approve:
    """Ask for a yes."""
    return Approve("Shall I?")


@tool(effect="pure")
async def nap() -> Sleep:
    """Sleep."""
    return Sleep(2e9)


@tool(effect="pure")
async def hand_over() -> Spawn:
    """Give a task away."""
    return Spawn("writer", "write")


@tool(effect="unsafe", approval="ask")
async def pay() -> str:
    """Pay."""
    return "paid"


@tool(effect="unsafe", approval="deny")
async def burn() -> str:
    """Burn."""
    return "burnt"


agent = Agent("asker", "Ask.", tools=[choose, form, confirm, nap, hand_over, pay, burn])


async def test_answers_and_decisions_of_the_test_are_the_calls_results() -> None:
    calls = [
        call("choose", question="Where?"),
        call("form"),
        call("confirm"),
        call("nap"),
        call("hand_over"),
        call("pay"),
        call("burn"),
    ]
    run = await run_agent(
        agent,
        "go",
        model=ScriptedModel(calls, "Done."),
        answers={"Where?": "Rome", "Name?": "Ada", "Size?": "M"},
        approvals={"Shall I?": False, "pay": True},
        children={"writer": "written"},
    )
    assert run.text == "Done."
    assert [made.outcome.text for made in run.calls] == [
        "Rome",
        '{"Name?": "Ada", "Size?": "M"}',
        "denied",
        "done",
        "written",
        "paid",
        "Not run: policy does not allow burn.",
    ]


async def test_silence_is_no_answer_and_a_no_runs_nothing() -> None:
    model = ScriptedModel([call("choose", question="Where?"), call("pay")], "Well.")
    run = await run_agent(agent, "go", model=model, answers=[None], approvals=[False])
    assert [made.outcome.text for made in run.calls] == [
        "no_answer",
        "Not run: the person said no.",
    ]


async def test_without_an_answer_the_turn_waits() -> None:
    model = ScriptedModel([call("pay"), call("choose", question="Where?")])
    run = await run_agent(agent, "go", model=model, answers=["Rome"])
    assert (run.finish, run.text) == ("waiting", "")
    assert [made.name for made in run.calls] == ["choose"]
