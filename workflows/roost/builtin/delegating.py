"""Giving tasks to other agents: `delegate` makes a tool of an agent."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field

from roost.agent import MAX_STEPS_LIMIT, Agent
from roost.checks import require_sendable, require_type, shown
from roost.declaration.parameters import why_unfit
from roost.errors import DefinitionError
from roost.tools import NAME, Tool, tool
from roost.waits import TASK_CHARS_MAX, ContextKind, Spawn

SAME_AGENT: Final = "delegate"  # the tool's name where an agent gives tasks to a copy of itself
DESCRIPTION_CHARS_MAX: Final = 400
BACKGROUND: Final = "Its answer comes later, as a message of its own."
COPY: Final = "Give a part of the work to a copy of yourself, and get its answer."


@dataclass(frozen=True, slots=True)
class Delegation(Tool):
    """A tool that gives tasks to an agent; None for a copy of the agent that has the tool."""

    agent: Agent | None = None


def delegate(
    agent: Agent | None = None,
    *,
    context: ContextKind | None = None,
    wait: bool = True,
    schema: Mapping[str, Any] | type[BaseModel] | None = None,
    name: str = "",
    description: str = "",
    max_tokens: int | None = None,
    max_steps: int | None = None,
) -> Tool:
    """A tool that gives a task to an agent, which works in a conversation of its own.

    agent: who gets the task, with its own instructions and tools; it need not be listed in
        ROOST_AGENTS. None: a copy of the agent that calls.
    context: `brief` shows it the task alone; `fork` all that was said here before. A fork of the
        same agent costs the engine nothing but the task, as all before it is computed already; a
        fork to another agent reads the same messages under its own instructions, and is computed
        anew. By default a copy of the same agent forks, and others are briefed.
    wait: whether the call waits for the answer, which is then its result. Otherwise the model goes
        on, and the answer comes as a message marked as the agent's.
    schema: of an answer in JSON, as JSON schema or as a pydantic model.
    max_tokens, max_steps: what the agent may use for one task, together with agents below it.

    The agent asks for approvals and answers in the chat at the top. What a person or an operator
    forbids the one who calls is forbidden to it, too. Raises DefinitionError.
    """
    where = "delegate()"
    require_type(where, "agent", agent, (Agent, type(None)), "an Agent or None")
    context = context or ("fork" if agent is None else "brief")
    if context not in ("brief", "fork"):
        raise DefinitionError(f"{where}: context must be brief or fork, not {shown(context)}.")
    require_type(where, "wait", wait, bool, "True or False")
    require_type(where, "name", name, str, "a text")
    require_type(where, "description", description, str, "a text")
    _check_limit(where, "max_tokens", max_tokens, None)
    _check_limit(where, "max_steps", max_steps, MAX_STEPS_LIMIT)
    name = name or (SAME_AGENT if agent is None else agent.name.replace("-", "_"))
    if not NAME.fullmatch(name):
        raise DefinitionError(f"{where}: {name!r} is no name of a tool.")
    answer_schema = _schema(where, schema)
    agent_name = "" if agent is None else agent.name

    async def give(
        task: Annotated[
            str,
            Field(
                min_length=1,
                max_length=TASK_CHARS_MAX // 2,
                description="What to do, complete in itself: the agent may know nothing else.",
            ),
        ],
        details: Annotated[
            str, Field(max_length=TASK_CHARS_MAX // 2 - 2, description="Facts that it needs.")
        ] = "",
    ) -> Spawn:
        return Spawn(
            agent=agent_name,
            task=f"{task}\n\n{details}" if details else task,
            context=context,
            wait=wait,
            schema=answer_schema,
            max_tokens=max_tokens,
            max_steps=max_steps,
        )

    give.__doc__ = description or _description(agent, wait=wait)
    label = f"Working with {agent_name or 'a copy'}"
    declared = tool(effect="pure", name=name, label=label)(give)
    told = {each.name: getattr(declared, each.name) for each in fields(Tool)}
    told["definition_hash"] = _hash(declared, [agent_name, context, wait, answer_schema])
    return Delegation(**told, agent=agent)


def _hash(declared: Tool, more: Sequence[Any]) -> str:
    text = json.dumps([declared.definition_hash, *more], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _description(agent: Agent | None, *, wait: bool) -> str:
    """The first line of the agent's instructions says best what it is good for."""
    if agent is None:
        text = COPY
    else:
        (first, *_) = agent.instructions.strip().splitlines()
        text = f"Give a task to the agent {agent.name}: {first.strip()[:DESCRIPTION_CHARS_MAX]}"
    return text if wait else f"{text} {BACKGROUND}"


def _schema(
    where: str, schema: Mapping[str, Any] | type[BaseModel] | None
) -> Mapping[str, Any] | None:
    if schema is None:
        return None
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        try:
            return schema.model_json_schema()
        except Exception as error:  # types bring code of their own, which may raise anything
            raise DefinitionError(f"{where}: schema: {why_unfit(error)}") from error
    require_type(where, "schema", schema, Mapping, "a JSON schema or a pydantic model")
    require_sendable(where, "the schema of the answer", schema)
    return dict(schema)


def _check_limit(where: str, name: str, value: object, most: int | None) -> None:
    if value is None:
        return
    require_type(where, name, value, int, "a whole number or None")
    if not isinstance(value, int) or value < 1 or (most is not None and value > most):
        up_to = "" if most is None else f" and at most {most}"
        raise DefinitionError(f"{where}: {name} must be 1 or more{up_to}.")
