"""A tool is a function: its name, docstring and annotations are what the model sees."""

import hashlib
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args, overload

from pydantic import BaseModel, ValidationError

from roost.checks import require_sendable, require_type, shown
from roost.context import Context
from roost.declaration.hashing import code_of, held_by
from roost.declaration.parameters import arguments_of, explain, parameters_of
from roost.effects import EFFECTS, Effect
from roost.errors import DefinitionError, ModelRetry
from roost.waits import Approver, check_approver

Check = Callable[[str], Any]
Approval = Literal["allow", "ask", "deny"]

APPROVALS: Final[tuple[str, ...]] = get_args(Approval)
TIMEOUT_S_DEFAULT: Final = 60.0
TIMEOUT_S_MAX: Final = 3600.0
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Tool:
    """A declared tool. Calling it calls the function, so unit tests need nothing else.

    effect: what a second run would do after a crash.
        pure        nothing outside changes: run again.
        idempotent  running again with the same `ctx.key` has no further effect: run again.
        verifiable  `check(key)` tells whether it took effect: check, then run if it did not.
        unsafe      never run again; the model, the user and the operator are told the outcome is
        unknown.
    check: gets the key of an interrupted call; None or False says it had no effect, anything else
        is its result.
    approval: whether people are asked before it runs: allow | ask | deny. None leaves it to the
        installation. approver: who may say yes: the person who asked for it, an operator, or
        another person than the one who asked.
    parameters: the JSON schema of the arguments.
    definition_hash: changes with the code and with all that is declared; an approval is bound to
        it.
    """

    name: str
    description: str
    function: Callable[..., Any]
    effect: Effect
    timeout_s: float
    check: Check | None
    parameters: Mapping[str, Any]
    label: str
    approval: Approval | None
    approver: Approver
    definition_hash: str
    _arguments: type[BaseModel]
    _context_name: str | None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, as in a test."""
        return self.function(*args, **kwargs)

    @property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function."""
        return inspect.iscoroutinefunction(self.function)

    def schema(self) -> dict[str, Any]:
        """The tool as chat completions declare it."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": dict(self.parameters),
        }
        return {"type": "function", "function": function}

    def parse(self, arguments: str) -> dict[str, Any]:
        """The function's keyword arguments from JSON. Raises ModelRetry, which names each fault."""
        try:
            model = self._arguments.model_validate_json(arguments or "{}")
        except ValidationError as error:
            raise ModelRetry(explain(self.name, error)) from None
        return {name: getattr(model, name) for name in type(model).model_fields}

    def bind(self, context: Context, values: Mapping[str, Any]) -> dict[str, Any]:
        """The keyword arguments for one run: the parsed values, and the context where it is
        declared.
        """
        if self._context_name is None:
            return dict(values)
        return {self._context_name: context, **values}

    async def has_happened(self, key: str) -> Any:
        """Ask `check` about an interrupted call; None when it had no effect."""
        if self.check is None:
            return None
        result = self.check(key)
        if inspect.isawaitable(result):
            result = await result
        return None if result is False else result


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *,
    effect: Effect = "unsafe",
    name: str = "",
    label: str = "",
    timeout: float = TIMEOUT_S_DEFAULT,
    check: Check | None = None,
    approval: Approval | None = None,
    approver: Approver = "requester",
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    effect: Effect = "unsafe",
    name: str = "",
    label: str = "",
    timeout: float = TIMEOUT_S_DEFAULT,
    check: Check | None = None,
    approval: Approval | None = None,
    approver: Approver = "requester",
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Declare a function as a tool.

    Without an effect it counts as `unsafe`: never repeated after a crash, which is never wrong.
    The docstring is the description, the annotations are the schema
    (`Annotated[str, Field(description=…)]` works). One parameter may be annotated `Context`; the
    model does not see it. `timeout` is in seconds, `label` is what people see while it runs.
    Work that blocks belongs in a plain `def`, which runs in a process of its own; in an `async def`
    it would stop the worker's heartbeats. It may return a wait of `roost.waits`, whose outcome is
    the result. approval, approver: see `Tool`. Raises DefinitionError.
    """

    def declare(inner: Callable[..., Any]) -> Tool:
        declared = _declare(inner, effect, name, label, timeout, check)
        _check_approval(f"Tool {declared.name!r}", approval, approver)
        return replace(declared, approval=approval, approver=approver)

    return declare(function) if function is not None else declare


def _check_approval(where: str, approval: object, approver: object) -> None:
    if approval is not None and approval not in APPROVALS:
        words = ", ".join(APPROVALS)
        raise DefinitionError(
            f"{where}: approval must be one of {words}, or None, not {shown(approval)}."
        )
    check_approver(where, approver)


def _declare(
    function: Callable[..., Any],
    effect: Effect,
    name: str,
    label: str,
    timeout: float,
    check: Check | None,
) -> Tool:
    if not inspect.isfunction(function):
        raise DefinitionError(
            f"@tool takes a function, not {shown(function)}. Write it above a `def`."
        )
    if function.__name__ == "<lambda>" and not name:
        raise DefinitionError("A lambda can't be a tool: it has no name or docstring. Use def.")
    require_type("@tool", "name", name, str, "a text")
    name = name or function.__name__
    where = f"Tool {name!r}"
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise DefinitionError(
            f"{where} yields, but a tool gives one result. Collect it, and write `return`."
        )
    if not NAME.fullmatch(name):
        raise DefinitionError(
            f"{where}: a name begins with a letter or _ and has up to 64 letters, digits, _ or -. "
            f"Rename the function, or write @tool(name=…)."
        )
    description = inspect.getdoc(function) or ""
    if not description:
        raise DefinitionError(
            f"{where} needs a docstring: the model chooses tools by it. Write what the tool does "
            f"below its `def`."
        )
    require_sendable(where, "its docstring", description)
    require_type(where, "effect", effect, str, "a text")
    if effect not in EFFECTS:
        raise DefinitionError(
            f"{where}: effect {effect!r} is not one of {', '.join(EFFECTS)}. Write "
            f'effect="pure" if it changes nothing, effect="unsafe" if you are not sure.'
        )
    if effect == "verifiable" and check is None:
        raise DefinitionError(
            f"{where}: the effect 'verifiable' needs `check`, a function that tells whether the "
            f"call of a key took effect. Write check=…, or another effect."
        )
    if effect != "verifiable" and check is not None:
        raise DefinitionError(
            f"{where}: `check` is only used with the effect 'verifiable', not {effect!r}. Write "
            f'effect="verifiable", or leave `check` out.'
        )
    if check is not None:
        _require_check(where, check)
    require_type(where, "label", label, str, "a text")
    require_type(where, "timeout", timeout, (int, float), "a number of seconds")
    if not 0 < timeout <= TIMEOUT_S_MAX:
        raise DefinitionError(
            f"{where}: timeout must be over 0 and at most {TIMEOUT_S_MAX:.0f} s, not {timeout}."
        )
    arguments, context_name = arguments_of(where, name, function)
    parameters = parameters_of(where, arguments)
    return Tool(
        name=name,
        description=description,
        function=function,
        effect=effect,
        timeout_s=float(timeout),
        check=check,
        parameters=parameters,
        label=label or name.replace("_", " ").capitalize(),
        approval=None,
        approver="requester",
        definition_hash=_hash(function, [name, description, effect, parameters]),
        _arguments=arguments,
        _context_name=context_name,
    )


def _require_check(where: str, check: object) -> None:
    if not callable(check):
        raise DefinitionError(f"{where}: check must be a function, not {shown(check)}.")
    try:
        signature = inspect.signature(check)
    except (TypeError, ValueError):  # some of those written in C tell none
        return
    try:
        signature.bind("key")
    except TypeError as error:
        raise DefinitionError(
            f"{where}: check gets the key of the call and nothing else. Declare it such as "
            f"`def {getattr(check, '__name__', 'check')}(key: str)`."
        ) from error


def _hash(function: Callable[..., Any], declared: Sequence[Any]) -> str:
    """A SHA-256 of what the model sees of a tool, of its code and of the values it holds."""
    held = held_by(function)
    text = json.dumps([*declared, code_of(function), *([held] if held else [])], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
