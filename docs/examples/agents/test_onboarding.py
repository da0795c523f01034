import json

from onboarding import onboarding
from roost.testing import Call, Messages, ScriptedModel, call, run_agent

FORM = call(
    "ask_user",
    questions=[
        {"question": "What is your name?"},
        {"question": "Which team?", "options": ["Kitchen", "Garden"]},
        {"question": "Which laptop?", "options": ["Mac", "PC"]},
    ],
)


def opens_account(messages: Messages) -> Call:
    """A model that reads the form's answers."""
    name, team, laptop = json.loads(messages[-1]["content"]).values()
    return call("open_account", name=name, team=team, laptop=laptop)


async def test_the_forms_answers_open_the_account() -> None:
    model = ScriptedModel(FORM, opens_account, "Welcome, Ada!")
    answers = ["Ada Byron", "Garden", "Mac"]
    run = await run_agent(onboarding, "Hello, I am new", model=model, answers=answers)
    assert run.calls[1].outcome.text == "ada.byron@example.org is open; a Mac comes to the Garden."
    assert run.asked == ("What is your name?", "Which team?", "Which laptop?")


async def test_it_waits_for_the_answers_as_long_as_it_takes() -> None:
    run = await run_agent(onboarding, "Hello, I am new", model=ScriptedModel(FORM))
    assert run.finish == "waiting"
