"""Answers a question with three agents, each of which looks at it from its own side."""

from roost import Agent, tool
from roost.builtin import delegate

LIBRARY = {"heat pumps": "Heat pumps move three units of heat for one of electricity."}


@tool(effect="pure", timeout=20, label="Looking in the library")
async def look_up(subject: str) -> str:
    """Find what the library has on a subject."""
    found = [text for title, text in LIBRARY.items() if title in subject.lower()]
    return "\n".join(found) or "There is nothing on this."


# The first line of the instructions tells the researcher what each one is good for.
engineer = Agent("engineer", "You explain how things work.\nBe short, with numbers.", [look_up])
economist = Agent("economist", "You tell what things cost, and whom.\nBe short.", [look_up])
sceptic = Agent("sceptic", "You find what is wrong with a plan.\nName three faults.", [look_up])

research = Agent(
    "research",
    instructions=(
        "You answer questions thoroughly. Give the question to the engineer, the economist and "
        "the sceptic at once, then write one answer of their results, and say where they differ."
    ),
    tools=[delegate(engineer), delegate(economist), delegate(sceptic, max_steps=4)],
)
