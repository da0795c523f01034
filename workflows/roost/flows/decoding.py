"""What a flow's function gets of a kept result: a value of the type that was asked for."""

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from roost.checks import shown
from roost.declaration.parameters import faults
from roost.errors import CallFailed, FlowError, GenerateFailed, NoAnswer, SpawnFailed
from roost.execution.call import Outcome
from roost.flows.journal import RESULT_BYTES_MAX, Entry
from roost.tools import Tool
from roost.waits import Ask, Wait

Decode = Callable[[Entry], Any]
Schema = type[Any] | Mapping[str, Any] | None
_ANY: Final = (inspect.Signature.empty, Any, str)


def nothing(_entry: Entry) -> None:
    """Steps without a value."""


def of_tool(tool: Tool) -> Decode:
    """The result as the type that the tool's function is annotated to return; text without one."""
    try:
        kind = get_type_hints(tool.function).get("return", str)
    except (NameError, TypeError, AttributeError, SyntaxError):
        kind = str
    if kind is type(None):
        return nothing
    if kind in _ANY or _is_wait(kind):
        return _text
    try:
        adapter = TypeAdapter[Any](kind)
    except (PydanticSchemaGenerationError, PydanticUserError):
        return _text

    def decode(entry: Entry) -> Any:
        try:
            return adapter.validate_json(entry.result)
        except ValidationError:
            pass
        try:  # a text in a union, such as `str | Booking`
            return adapter.validate_python(entry.result)
        except ValidationError as error:
            raise CallFailed(
                tool.name, "ok", f"its result is no {shown(kind)}: {faults(error)}"
            ) from None

    return decode


def of_schema(schema: Schema) -> tuple[dict[str, Any] | None, Decode]:
    """The JSON schema of what the model writes, None for text, and how its text becomes a value."""
    if schema is None:
        return None, _generated
    if isinstance(schema, Mapping):
        return dict(schema), _json_of
    try:
        adapter = TypeAdapter[Any](schema)
        form = adapter.json_schema()
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise FlowError(f"schema: {str(error).splitlines()[0]}") from None

    def decode(entry: Entry) -> Any:
        try:
            return adapter.validate_json(_generated(entry))
        except ValidationError as error:
            raise GenerateFailed(f"What the model wrote does not fit: {faults(error)}") from None

    return form, decode


def _json_of(entry: Entry) -> Any:
    try:
        return json.loads(_generated(entry))
    except RecursionError:
        raise GenerateFailed("What the model wrote is nested too deeply.") from None


def of_child(schema: Schema, *, is_waited: bool) -> tuple[dict[str, Any] | None, Decode]:
    """The JSON schema of a child's answer, None for text, and how the answer becomes a value."""
    form, of_answer = of_schema(schema)

    def decode(entry: Entry) -> Any:
        if entry.state != "ok":
            raise SpawnFailed(f"{entry.name}: {entry.result}")
        if not is_waited:
            return None
        try:
            return of_answer(entry)
        except (GenerateFailed, ValueError) as error:
            raise SpawnFailed(f"{entry.name}: its answer does not fit: {error}") from None

    return form, decode


def of_answers(wait: Ask, default: Any, *, is_form: bool, missing: object) -> Decode:
    """The answer, or the answers by their questions' texts."""

    def decode(entry: Entry) -> Any:
        kept = json.loads(entry.result) if entry.state == "ok" else {}
        answers = kept.get("answers")
        if answers is None:
            if default is missing:
                why = "Nobody answered in time" if entry.state == "ok" else entry.result
                raise NoAnswer(f"{entry.words}: {why}")
            return default
        if not is_form:
            return answers[0]
        texts = [question.text for question in wait.questions]
        return dict(zip(texts, answers, strict=True))

    return decode


def verdict(entry: Entry) -> bool:
    """Whether somebody said yes."""
    return entry.state == "ok" and bool(json.loads(entry.result).get("approved"))


def bounded(name: str, outcome: Outcome) -> Outcome:
    """The outcome, or an error where the result is more than a journal keeps."""
    size = len(outcome.text.encode("utf-8", "replace"))
    if size <= RESULT_BYTES_MAX:
        return outcome
    told = f"The result of {name} has more than {RESULT_BYTES_MAX} bytes: return less, or a file."
    return Outcome("error", told)


def _text(entry: Entry) -> str:
    return entry.result


def _generated(entry: Entry) -> str:
    if entry.state != "ok":
        raise GenerateFailed(entry.result)
    return entry.result


def _is_wait(kind: object) -> bool:
    return kind == Wait or (isinstance(kind, type) and issubclass(kind, Wait))
