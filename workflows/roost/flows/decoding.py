"""What a flow's function gets of a kept result: a value of the type that was asked for."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import TypeAdapter

from roost.checks import shown
from roost.declaration.parameters import faults, why_unfit
from roost.errors import (
    CallFailed,
    FlowError,
    FlowLimit,
    GenerateFailed,
    NoAnswer,
    SpawnFailed,
)
from roost.execution.call import Outcome
from roost.execution.results import adapter_of, kind_of
from roost.flows.journal import RESULT_BYTES_MAX, Entry
from roost.tools import Tool
from roost.waits import WAIT_S_MAX, Ask

TOO_LONG: Final = f"A sleep lasts at most {WAIT_S_MAX / 86400:.0f} days."
Decode = Callable[[Entry], Any]
Schema = type[Any] | Mapping[str, Any] | None


def nothing(_entry: Entry) -> None:
    """Steps without a value."""


def slept(entry: Entry) -> None:
    """A sleep gives nothing. Raises FlowLimit for one that was too long to begin."""
    if entry.state == "error":
        raise FlowLimit(entry.result)


def of_tool(tool: Tool) -> Decode:
    """The result as the type that the tool's function is annotated to return; text without one."""
    kind = kind_of(tool)
    if kind is type(None):
        return nothing
    adapter = adapter_of(kind)
    if adapter is None:
        return _text

    def decode(entry: Entry) -> Any:
        try:
            return adapter.validate_json(entry.result)
        except Exception:  # types bring checks of their own, which may raise anything
            pass
        try:  # what a person answered or a check found, which is kept as it was said
            value = adapter.validate_python(entry.result)
        except Exception as error:  # as above
            raise CallFailed(
                tool.name, "ok", f"its result is no {shown(kind)}: {faults(error)}"
            ) from None
        if isinstance(value, bytes):  # of which the text is a picture, as Python writes it
            raise CallFailed(tool.name, "ok", "its result has bytes that are no UTF-8.")
        return value

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
    except Exception as error:  # types bring code of their own, which may raise anything
        raise FlowError(f"schema: {why_unfit(error)}") from None

    def decode(entry: Entry) -> Any:
        text = _generated(entry)
        try:
            return adapter.validate_json(text)
        except Exception as error:  # as in `of_tool`
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
