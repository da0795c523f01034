"""Finding agents and flows: entry points of `roost.agents`, and those named in the settings."""

import importlib
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Final

from roost.agent import Agent, QueueMode
from roost.builtin.concierge import concierge
from roost.builtin.delegating import Delegation
from roost.checks import shown
from roost.errors import DefinitionError
from roost.flow import Flow
from roost_workflows.errors import AgentsError

GROUP: Final = "roost.agents"
FLOW_QUEUE: Final[QueueMode] = "followup"  # a flow reads no messages on its way: none steers it

Answerer = Agent | Flow


class AgentRegistry:
    """The agents and flows of this installation by name. `default` answers when nobody chose
    another.
    """

    def __init__(self, agents: Mapping[str, Answerer], default: str) -> None:
        self._agents = dict(agents)
        self.default = default

    @classmethod
    def of(cls, *agents: Answerer) -> "AgentRegistry":
        """A registry of exactly these; the first is the default."""
        agents_by_name: dict[str, Answerer] = {}
        for agent in agents:
            _add(agents_by_name, agent, "the program")
        return cls(agents_by_name, agents[0].name)

    def get(self, name: str) -> Answerer | None:
        """The agent or flow of this name, None when it is not installed."""
        return self._agents.get(name)

    def agent(self, name: str) -> Agent | None:
        """The agent of this name, None when there is none or it is a flow."""
        found = self._agents.get(name)
        return found if isinstance(found, Agent) else None

    def flow(self, name: str) -> Flow | None:
        """The flow of this name, None when there is none or it is an agent."""
        found = self._agents.get(name)
        return found if isinstance(found, Flow) else None

    @property
    def flows(self) -> tuple[Flow, ...]:
        """All flows."""
        return tuple(one for one in self if isinstance(one, Flow))

    @property
    def queues(self) -> dict[str, QueueMode]:
        """The queue modes of the agents that set one and of all flows, by their names."""
        modes = {agent.name: agent.queue for agent in self if agent.queue is not None}
        return {one.name: FLOW_QUEUE for one in self.flows} | modes

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all agents and flows."""
        return tuple(self._agents)

    def __iter__(self) -> Iterator[Answerer]:
        return iter(self._agents.values())


def load_agents(spec: str = "", *, points: Iterable[EntryPoint] | None = None) -> AgentRegistry:
    """The built-in concierge, every entry point, and `module:attribute[,…]` of `spec`.

    The first agent of `spec` is the default, else the concierge. Raises AgentsError, which names
    what cannot be loaded: a broken agent stops the start and does not go missing.
    """
    agents_by_name: dict[str, Answerer] = {concierge.name: concierge}
    for point in entry_points(group=GROUP) if points is None else points:
        for agent in _load(point.value, f"entry point {point.name!r}"):
            _add(agents_by_name, agent, f"entry point {point.name!r}")
    default = concierge.name
    wanted = [item.strip() for item in spec.split(",") if item.strip()]
    for index, item in enumerate(wanted):
        agents = _load(item, "ROOST_AGENTS")
        for agent in agents:
            _add(agents_by_name, agent, f"ROOST_AGENTS ({item})")
        if index == 0:
            default = agents[0].name
    return AgentRegistry(agents_by_name, default)


def _load(target: str, where: str) -> list[Answerer]:
    module_name, separator, attribute = target.partition(":")
    if not separator or not module_name or not attribute:
        raise AgentsError(
            f"{where}: {target!r} is not of the form module:attribute. Write such as "
            f"my_agents:waiter."
        )
    module = _import(module_name, where)
    value: object = module
    for part in attribute.split("."):
        if not hasattr(value, part):
            others = _others(module, attribute)
            raise AgentsError(f"{where}: module {module_name!r} has no {attribute!r}. {others}")
        value = getattr(value, part)
    values: list[object] = list(value) if isinstance(value, list | tuple) else [value]
    agents = [agent for agent in values if isinstance(agent, Answerer)]
    if not agents or len(agents) < len(values):
        wrong = next((one for one in values if not isinstance(one, Answerer)), value)
        raise AgentsError(
            f"{where}: {target} is not an Agent, a flow or a list of these; there is "
            f"{shown(wrong)}. Make it one with Agent(…) or @flow."
        )
    return agents


def _import(name: str, where: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except DefinitionError as error:  # it names its own place
        raise AgentsError(f"{error} (in module {name!r} of {where})") from error
    except ModuleNotFoundError as error:
        is_itself = error.name is not None and f"{name}.".startswith(f"{error.name}.")
        mend = (
            "Is its folder on PYTHONPATH, or its package installed?"
            if is_itself
            else f"{_place_of(error)}: install {error.name!r}, or mend the import."
        )
        raise AgentsError(
            f"{where}: module {name!r} can't be imported: ModuleNotFoundError: {error}. {mend}"
        ) from error
    except Exception as error:
        # The module may raise anything; the person who starts Roost reads it.
        said = error.msg if isinstance(error, SyntaxError) else str(error)
        raise AgentsError(
            f"{_place_of(error)}: {type(error).__name__}: {said} (module {name!r} of {where} can't "
            f"be imported)"
        ) from error


def _place_of(error: BaseException) -> str:
    """`path:line` of the developer's code in which it was raised."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    lines = traceback.extract_tb(error.__traceback__)
    for frame, line in reversed(list(zip(frames, lines, strict=True))):
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in sys.stdlib_module_names and "site-packages" not in line.filename:
            return f"{line.filename}:{line.lineno}"
    return "unknown place"


def _others(module: ModuleType, attribute: str) -> str:
    """What a mistyped attribute may have meant."""
    names = [name for name, value in vars(module).items() if isinstance(value, Answerer)]
    if close := get_close_matches(attribute, names, n=1):
        return f"Did you mean {module.__name__}:{close[0]}?"
    if names:
        return f"Its agents are: {', '.join(names)}."
    return f"It makes no agent; write {attribute} = Agent(…) in {module.__file__ or 'it'}."


def _add(agents_by_name: dict[str, Answerer], agent: Answerer, where: str) -> None:
    known = agents_by_name.get(agent.name)
    if known is not None and known is not agent:
        raise AgentsError(
            f"{where}: there is another agent named {agent.name!r} already. Give one of them "
            f"another name."
        )
    agents_by_name[agent.name] = agent
    if known is not None:
        return
    for tool in agent.tools:  # those to which it gives tasks are installed with it
        if isinstance(tool, Delegation) and tool.agent is not None:
            _add(agents_by_name, tool.agent, f"{where}, delegate() of {agent.name!r}")
    if isinstance(agent, Flow):
        for named in agent.agents:
            _add(agents_by_name, named, f"{where}, flow {agent.name!r}")
