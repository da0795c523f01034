"""An error of a wrong definition says where it stands, what is wrong, and how to mend it."""

import asyncio
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from roost import Agent, DefinitionError
from roost.builtin.concierge import concierge
from roost.waits import Question
from roost_workflows.agents import AgentRegistry, load_agents
from roost_workflows.errors import AgentsError

# The line that begins with `>` is wrong; the error names it.
TOOL = '''from roost import Agent, tool

{line}
def book(place: str) -> str:
    """Book a table."""
    return place
'''
AGENT = '''from roost import Agent, ModelSettings, tool


@tool(effect="pure")
def look(place: str) -> str:
    """Look."""
    return place


{line}
'''
WAIT = """from roost.waits import Approve, Ask, Question, Sleep, Spawn

{line}
"""
SIGNATURE = '''from typing import Annotated, ClassVar, Final

from pydantic import Field
from roost import Context, tool


>@tool(effect="pure")
def book({line}) -> str:
    """Book a table."""
    return ""
'''
FLOW = """from typing import Final

from roost import FlowContext, flow


>@flow
{line}
    return ""
"""
DELEGATE = """from collections.abc import Callable

from pydantic import BaseModel
from roost.builtin import delegate


class Answer(BaseModel):
    run: Callable[[], None]


{line}
"""
BARE = """from roost import tool

{line}
def book() -> str:
    return ""
"""
YIELDS = '''from roost import tool

{line}
async def list_all():
    """List all."""
    yield "one"
'''
CHECK = '''from roost import tool


def check() -> bool:
    return True


{line}
def book() -> str:
    """Book a table."""
    return ""
'''
CASES = [
    (TOOL, '>@tool(effect="safe")', "effect 'safe' is not one of", 'Write effect="pure"'),
    (TOOL, ">@tool(effect=3)", "effect must be a text, not 3 (int)", ""),
    (TOOL, '>@tool(effect="verifiable")', "needs `check`", "Write check="),
    (TOOL, '>@tool(effect="pure", check=print)', "only used with", 'Write effect="verifiable"'),
    (TOOL, '>@tool(effect="verifiable", check=3)', "check must be a function", ""),
    (TOOL, ">@tool(timeout=0)", "timeout must be over 0 and at most 3600 s, not 0", ""),
    (TOOL, ">@tool(timeout='1')", "timeout must be a number of seconds, not '1' (str)", ""),
    (TOOL, '>@tool(name="book a table")', "a name begins with a letter", "@tool(name="),
    (TOOL, ">@tool(name=3)", "name must be a text", ""),
    (TOOL, ">@tool(label=3)", "label must be a text", ""),
    (TOOL, '>@tool(approval="perhaps")', "approval must be one of allow, ask, deny", ""),
    (TOOL, '>@tool(approver="me")', "approver must be one of requester, operator", ""),
    (TOOL, ">tool(lambda place: place)\n@tool", "A lambda can't be a tool", "Use def"),
    (TOOL, ">tool(len)\n@tool", "@tool takes a function", "above a `def`"),
    (BARE, ">@tool", "needs a docstring", "Write what the tool does"),
    (SIGNATURE, "place", "parameter 'place' needs an annotation", "`place: str`"),
    (SIGNATURE, "ctx", "parameter 'ctx' needs an annotation", "`ctx: Context`"),
    (SIGNATURE, "self, place: str", "a tool is a function, not a method", "Move it out"),
    (SIGNATURE, "a: Context, b: Context", "'a' and 'b' both take the Context", "Keep one"),
    (YIELDS, ">@tool", "Tool 'list_all' yields", "write `return`"),
    (CHECK, '>@tool(effect="verifiable", check=check)', "check gets the key", "check(key: str)"),
    (SIGNATURE, "*places: str", "must be passable by name", "without *, ** and /"),
    (SIGNATURE, "place: 'Place'", "an annotation can't be resolved", "Import the type"),
    (
        SIGNATURE,
        "place: type('Place', (), {})",
        "Unable to generate",
        "Use types that JSON knows",
    ),
    (SIGNATURE, "place: float = float('inf')", "can't be sent to a model", ""),
    (SIGNATURE, "a: str, place: ClassVar[int] = 3", "'place' is marked ClassVar", "type alone"),
    (SIGNATURE, "place: Final[int] = 3", "'place' is marked ClassVar or Final", "type alone"),
    (SIGNATURE, "a: str, b: Annotated[str, Field(pattern='(?=a)')]", "'b': regex parse", "Use"),
    (SIGNATURE, "a: str, b: Annotated[int, Field(gt='a')]", "'b': Error building", "Use types"),
    (SIGNATURE, "a: str, b: {'x': int}", "'b': its type or its default", "Use types"),
    (SIGNATURE, "a: str, b: bytes = b'\\xff'", "'b': its type or its default", "Use types"),
    (SIGNATURE, "place: '1 / 0'", "an annotation can't be resolved: division", "Import"),
    (FLOW, "async def trip(ctx: FlowContext, a: Final[int] = 3) -> str:", "'a' is marked", "alone"),
    (FLOW, "async def trip(ctx: FlowContext, a: {'x': int}) -> str:", "'a': its type", "Use"),
    (
        FLOW,
        "def trip(ctx: FlowContext) -> str:",
        "Flow 'trip': a flow is an `async def`",
        "trip(ctx:",
    ),
    (
        FLOW,
        "async def trip(message: str) -> str:",
        "its first parameter must be `ctx: ",
        "trip(ctx:",
    ),
    (
        FLOW,
        "async def trip(ctx: FlowContext, day) -> str:",
        "'day' needs an annotation",
        "`day: str`",
    ),
    (FLOW, "async def trip(ctx: FlowContext, *days: str) -> str:", "by name", "without *"),
    (
        FLOW,
        "async def Trip(ctx: FlowContext) -> str:",
        "begins with a lower-case letter",
        "@flow(name=",
    ),
    (DELEGATE, ">delegate(schema=Answer)", "schema: Cannot generate a JsonSchema", ""),
    (DELEGATE, ">delegate(name=5)", "name must be a text, not 5 (int)", ""),
    (DELEGATE, ">delegate(wait='no')", "wait must be True or False, not 'no' (str)", ""),
    (DELEGATE, ">delegate(description=5)", "description must be a text, not 5 (int)", ""),
    (AGENT, '>Agent("The Waiter", "Serve.")', "lower-case", "Write such as"),
    (AGENT, '>Agent(3, "Serve.")', "name must be a text, not 3 (int)", ""),
    (AGENT, '>Agent("waiter", "")', "needs instructions", "Write what it is for"),
    (AGENT, '>Agent(\n    "waiter",\n    "Serve.",\n    max_steps=0,\n)', "1 to 100, not 0", ""),
    (AGENT, '>Agent("waiter", "Serve.", max_turn_tokens=0)', "1 or more, not 0", ""),
    (AGENT, '>Agent("waiter", "Serve.", max_turn_s=0)', "over 0 and at most", ""),
    (AGENT, '>Agent("waiter", "Serve.", model=5)', "must be ModelSettings or a name", ""),
    (AGENT, '>Agent("waiter", "Serve.", queue="later")', "queue must be one of steer", ""),
    (AGENT, '>Agent("waiter", "Serve.", [len])', "tools[0] must be a tool", "declared with @tool"),
    (AGENT, '>Agent("waiter", "Serve.", [look] * 2)', "two tools named", "@tool(name="),
    (AGENT, '>Agent("waiter", "Serve.", [look] * 65)', "65 tools; at most 64", "another agent"),
    (AGENT, ">ModelSettings(temperature=-1)", "temperature must be 0 or more, not -1", ""),
    (AGENT, ">ModelSettings(top_p=2)", "top_p must be over 0 and at most 1, not 2", ""),
    (AGENT, ">ModelSettings(repetition_penalty=0)", "must be over 0, not 0", ""),
    (AGENT, ">ModelSettings(max_tokens=0)", "max_tokens must be 1 to 10000000, not 0", ""),
    (AGENT, '>ModelSettings(stop="END")', "stop must be a tuple of texts", ""),
    (WAIT, '>Question("")', "A question needs a text", ""),
    (WAIT, ">Question(3)", "its text must be a text, not 3 (int)", ""),
    (WAIT, '>Question("?" * 601)', "at most 600 characters, not 601", ""),
    (WAIT, '>Question("Who?", ["x"] * 11)', "at most 10 options, not 11", "in two steps"),
    (WAIT, '>Question("Who?", "Ann")', "options must be a list of texts, not 'Ann'", ""),
    (WAIT, '>Question("Who?", ["Ann", "ann"])', "Two options of a question are the same", "out"),
    (WAIT, ">Ask([])", "A form has 1 to 3 questions, not 0", ""),
    (WAIT, '>Ask(["Who?"])', "each question must be a Question, not 'Who?' (str)", ""),
    (
        WAIT,
        '>Ask([Question("Who?")], timeout_s=0)',
        "A wait lasts over 0 s and at most 90 days",
        "",
    ),
    (WAIT, '>Approve("Pay?", timeout_s="1")', "must be a number of seconds, not '1' (str)", ""),
    (WAIT, '>Approve("")', "What is approved needs a text", ""),
    (WAIT, '>Approve("Pay?", approver="me")', "approver must be one of requester, operator", ""),
    (WAIT, '>Spawn("cook", "")', "A task needs a text", ""),
    (WAIT, '>Spawn(3, "Cook.")', "agent must be", ""),
    (WAIT, '>Spawn("cook", "Cook.", context="all")', "context must be one of brief, fork", ""),
    (WAIT, '>Sleep("soon")', "its end must be a number of seconds", ""),
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def write(folder: Path, source: str) -> tuple[Path, int]:
    """Write the module my_staff; its file, and the line that was marked with `>`."""
    file = folder / "my_staff.py"
    marked = re.search("^>", source, re.M)
    line = source[: marked.start()].count("\n") + 1 if marked else 0
    file.write_text(re.sub("^>", "", source, flags=re.M), encoding="utf-8")
    importlib.invalidate_caches()
    return file, line


@pytest.mark.parametrize(("frame", "line", "problem", "mend"), CASES)
def test_a_wrong_definition_names_file_line_and_mend(
    folder: Path, frame: str, line: str, problem: str, mend: str
) -> None:
    file, number = write(folder, frame.format(line=line))
    with pytest.raises(DefinitionError) as raised:
        importlib.import_module("my_staff")
    told = str(raised.value)
    assert told.startswith(f"{file}:{number}: "), told
    assert problem in told and mend in told, told
    assert told == f"{raised.value.place}: {raised.value.problem}"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (TOOL.format(line='>@tool(effect="safe")'), "Tool 'book': effect 'safe' is not one of"),
        (">def waiter(:\n    pass\n", "SyntaxError: "),
        ("import json\n\n>json.loads('{')\n", "JSONDecodeError: "),
        (">waiter = Waiter()\n", "NameError: name 'Waiter' is not defined"),
    ],
)
def test_a_module_that_can_not_be_loaded_is_named_with_the_line(
    folder: Path, source: str, told: str
) -> None:
    file, number = write(folder, source)
    with pytest.raises(AgentsError) as raised:
        load_agents("my_staff:waiter", points=())
    assert str(raised.value).startswith(f"{file}:{number}: {told}")
    assert "module 'my_staff' of ROOST_AGENTS" in str(raised.value)


@pytest.mark.parametrize(
    ("source", "spec", "mend"),
    [
        ("", "my_stuff:waiter", "Is its folder on PYTHONPATH"),
        ("import no_such_package\n", "my_staff:waiter", "install 'no_such_package'"),
        ("", "my_staff", "Write such as my_agents:waiter"),
        ("", "my_staff:waiter", "It makes no agent; write waiter = Agent(…) in "),
        (
            "from roost import Agent\nwaiter = Agent('w', 'Be.')",
            "my_staff:waiters",
            "mean my_staff",
        ),
        ("from roost import Agent\nwaiter = Agent('w', 'Be.')", "my_staff:x", "agents are: waiter"),
        ("waiter = 'Be.'", "my_staff:waiter", "there is 'Be.' (str). Make it one with Agent"),
        ("waiter = []", "my_staff:waiter", "there is [] (list)"),
    ],
)
def test_agents_that_are_not_found_come_with_a_mend(
    folder: Path, source: str, spec: str, mend: str
) -> None:
    write(folder, source)
    with pytest.raises(AgentsError, match=re.escape(mend)):
        load_agents(spec, points=())


def test_two_agents_of_one_name_are_told_to_be_renamed() -> None:
    with pytest.raises(AgentsError, match="Give one of them another name"):
        AgentRegistry.of(concierge, Agent("concierge", "Not me."))


async def test_a_wait_made_of_a_models_words_names_no_place() -> None:
    """There is no declaration to mend: the event loop runs the call."""

    async def ask() -> Question:
        namespace = {"__name__": "roost.builtin.asking", "Question": Question}
        exec("def ask(): return Question('')", namespace)
        return namespace["ask"]()  # type: ignore[operator,no-any-return]

    task = asyncio.create_task(ask())
    with pytest.raises(DefinitionError) as raised:
        await task
    assert raised.value.problem == "A question needs a text."
