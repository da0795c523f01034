"""A flow is a function that is its own turn loop: `@flow` makes it stand wherever an agent does."""

import hashlib
import inspect
import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints, overload

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_json

from roost.agent import NAME, Agent, QueueMode
from roost.checks import require_sendable, require_type, shown
from roost.declaration.hashing import code_of, held_by
from roost.declaration.inputs import kept_input
from roost.declaration.parameters import explain, faults, model_of, parameters_of, shape_of
from roost.errors import DefinitionError, FlowError
from roost.flows.advancing import FlowFacts
from roost.flows.context import FlowContext
from roost.flows.driving import Run
from roost.flows.journal import STEPS_MAX
from roost.tools import Tool

# A flow reads no transcript, so no message can steer it.
FlowQueue = Literal["followup", "collect", "interrupt"]
FLOW_QUEUES: Final[tuple[str, ...]] = get_args(FlowQueue)
# none: the function takes ctx alone. message: ctx and `message: str`. fields: named values.
InputKind = Literal["none", "message", "fields"]
MESSAGE: Final = "message"


class WrongInput(FlowError):
    """What the flow was started with is not what it takes; the text is for the person."""


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """A declared flow.

    parameters: the JSON schema of its input, by name. input_kind: see InputKind.
    max_steps: entries of its journal at most. queue: what happens to messages that arrive while it
    runs, as in Agent. code_hash: changes with its source, what it closes over, and its tools.
    """

    name: str
    function: Callable[..., Coroutine[Any, Any, Any]]
    description: str
    parameters: Mapping[str, Any]
    input_kind: InputKind
    max_steps: int
    queue: QueueMode | None
    code_hash: str
    _input: type[BaseModel]
    _context_name: str

    def parse(self, text: str) -> dict[str, Any]:
        """The input in a message: its text, or the JSON of its fields. Raises WrongInput."""
        match self.input_kind:
            case "none":
                return {}
            case "message":
                return {MESSAGE: text}
            case "fields":
                return self._checked(text.strip() or "{}")

    def parse_input(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The input as JSON can keep it, from named values. Raises WrongInput."""
        try:
            return self._checked(to_json(dict(given)).decode())
        except PydanticSerializationError as error:
            raise WrongInput(f"The input of {self.name} can't be kept as JSON: {error}.") from None

    def text_of(self, given: Mapping[str, Any]) -> str:
        """The message that starts the flow with these values; `parse` reads it again."""
        if self.input_kind == "message":
            return str(given[MESSAGE])
        return json.dumps(dict(given), ensure_ascii=False)

    def begin(
        self, run: Run, facts: FlowFacts, values: Mapping[str, Any]
    ) -> Coroutine[Any, Any, Any]:
        """The function as it begins, with its ctx over this run. values: what `parse` gave."""
        try:
            model = self._input.model_validate_json(json.dumps(dict(values)))
        except Exception as error:  # types bring checks of their own, which may raise anything
            raise FlowError(
                f"What this run was started with does not fit the code as it is now: "
                f"{faults(error)}."
            ) from None
        given = {name: getattr(model, name) for name in self._input.model_fields}
        return self.function(**{self._context_name: FlowContext(run, facts)}, **given)

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools that the function's code names, sorted by name."""
        found = {tool.name: tool for tool in _named(self.function) if isinstance(tool, Tool)}
        return tuple(found[name] for name in sorted(found))

    @property
    def agents(self) -> "tuple[Agent | Flow, ...]":
        """The agents and other flows that the function's code names: it may give them tasks."""
        found = {
            value.name: value
            for value in _named(self.function)
            if isinstance(value, Agent | Flow) and value is not self
        }
        return tuple(found[name] for name in sorted(found))

    def tool(self, name: str) -> Tool | None:
        """The tool of that name among `tools`."""
        return next((tool for tool in self.tools if tool.name == name), None)

    def _checked(self, text: str) -> dict[str, Any]:
        try:
            model = self._input.model_validate_json(text)
        except Exception as error:  # as in `begin`
            raise WrongInput(f"{explain(self.name, error)} {self._wanted()}") from None
        try:
            return kept_input(model, text)
        except (ValueError, RecursionError) as error:
            raise WrongInput(f"{self.name}: {error}. {self._wanted()}") from None

    def _wanted(self) -> str:
        """What the flow takes, in words."""
        if self.input_kind == "none":
            return "It takes no input."
        shape = json.dumps(shape_of(self.parameters), ensure_ascii=False)
        return f"Send its input as JSON: {shape}"


@overload
def flow(function: Callable[..., Any], /) -> Flow: ...
@overload
def flow(
    *, name: str = "", max_steps: int = STEPS_MAX, queue: QueueMode | None = None
) -> Callable[[Callable[..., Any]], Flow]: ...
def flow(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str = "",
    max_steps: int = STEPS_MAX,
    queue: QueueMode | None = None,
) -> Flow | Callable[[Callable[..., Any]], Flow]:
    """Declare an `async def` function as a flow.

    Its first parameter is the `FlowContext`. Behind it comes nothing, or `message: str`, which is
    what the person wrote, or fields with types, which come as JSON. What it returns is the answer.
    name: by default the function's. Raises DefinitionError.
    """

    def declare(inner: Callable[..., Any]) -> Flow:
        return _declare(inner, name, max_steps, queue)

    return declare(function) if function is not None else declare


def _declare(
    function: Callable[..., Any], name: str, max_steps: int, queue: QueueMode | None
) -> Flow:
    if not inspect.isfunction(function):
        raise DefinitionError(
            f"@flow takes a function, not {shown(function)}. Write it above an `async def`."
        )
    where = f"Flow {function.__name__!r}"
    if not inspect.iscoroutinefunction(function):
        raise DefinitionError(
            f"{where}: a flow is an `async def` that awaits its steps. Write `async def "
            f"{function.__name__}(ctx: FlowContext, …)`, with `return` for its answer."
        )
    require_type(where, "name", name, str, "a text")
    name = name or function.__name__.strip("_")
    if not NAME.fullmatch(name):
        raise DefinitionError(
            f"{where}: a name begins with a lower-case letter and has up to 64 lower-case letters, "
            f'digits, _ or -. Write such as @flow(name="morning-run").'
        )
    require_type(where, "max_steps", max_steps, int, "a whole number")
    if not 1 <= max_steps <= STEPS_MAX:
        raise DefinitionError(f"{where}: max_steps must be 1 to {STEPS_MAX}, not {max_steps}.")
    if queue is not None and queue not in FLOW_QUEUES:
        modes = ", ".join(FLOW_QUEUES)
        raise DefinitionError(
            f"{where}: queue must be one of {modes}, or None, not {shown(queue)}."
        )
    description = inspect.getdoc(function) or ""
    require_sendable(where, "its docstring", description)
    context_name, fields = _fields(where, function)
    model = model_of(where, f"{name}_input", fields)
    parameters = parameters_of(where, model, "the schema of its input")
    kind: InputKind = "fields" if fields else "none"
    if list(fields) == [MESSAGE] and fields[MESSAGE][0] is str:
        kind = "message"
    return Flow(
        name=name,
        function=function,
        description=description,
        parameters=parameters,
        input_kind=kind,
        max_steps=max_steps,
        queue=queue,
        code_hash=_hash(function),
        _input=model,
        _context_name=context_name,
    )


def _fields(where: str, function: Callable[..., Any]) -> tuple[str, dict[str, Any]]:
    """The name of the ctx parameter, and the fields of the input."""
    try:
        hints = get_type_hints(function, include_extras=True)
    except Exception as error:  # a quoted annotation is code, which may raise anything
        raise DefinitionError(
            f"{where}: an annotation can't be resolved: {error}. Import the type it names where "
            f"the flow is declared."
        ) from error
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or not _is_context(hints.get(parameters[0].name, FlowContext)):
        raise DefinitionError(
            f"{where}: its first parameter must be `ctx: FlowContext`. Write `async def "
            f"{function.__name__}(ctx: FlowContext, …)`."
        )
    fields: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise DefinitionError(
                f"{where}: parameter {parameter.name!r} must be passable by name. Write it as an "
                f"ordinary parameter, without *, ** and /."
            )
        if parameter is parameters[0]:
            continue
        if parameter.name not in hints:
            raise DefinitionError(
                f"{where}: parameter {parameter.name!r} needs an annotation, such as "
                f"`{parameter.name}: str`."
            )
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints[parameter.name], default)
    return parameters[0].name, fields


def _is_context(hint: Any) -> bool:
    return hint is FlowContext or (
        get_origin(hint) is Annotated and get_args(hint)[0] is FlowContext
    )


def _hash(function: Callable[..., Any]) -> str:
    """A SHA-256 of the source, of plain values that it closes over, and of the tools it names."""
    tools = [tool.definition_hash for tool in _named(function) if isinstance(tool, Tool)]
    text = json.dumps([code_of(function), held_by(function), sorted(tools)], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _named(function: Callable[..., Any]) -> list[Any]:
    """The values of the module's names and the cells that the function's code uses."""
    try:
        held = inspect.getclosurevars(function)
    except ValueError:  # a cell is empty while its function is being defined
        return []
    return [*held.globals.values(), *held.nonlocals.values()]
