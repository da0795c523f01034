"""Whether a child's answer fits the schema that was asked for, and the one correction it gets."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.turns.children.spawning import TASK, agent_row
from roost_workflows.ports import ModelCall

FAULTS_TOLD_MAX: Final = 5
CORRECT: Final = "Your answer does not fit the schema: {faults}. Answer again, with JSON alone."
_FENCE: Final = "```"
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}


def faults_of(text: str, schema: Mapping[str, Any]) -> Sequence[str]:
    """Where a text is not JSON that fits the schema; empty where it does.

    What is looked at: type, enum, const, properties, required, additionalProperties, items, anyOf,
    oneOf, and references into $defs. Other words of JSON Schema are not held here; an engine that
    follows schemas holds them while it writes.
    """
    try:
        value = json.loads(bare(text))
        faults: list[str] = []
        _check(value, schema, schema, "", faults)
    except RecursionError:
        return ["it is nested too deeply"]
    except ValueError:
        return ["it is not JSON"]
    return faults


def bare(text: str) -> str:
    """The text without the fence that models put around JSON."""
    text = text.strip()
    if text.startswith(_FENCE) and text.endswith(_FENCE) and "\n" in text:
        return text.split("\n", 1)[1].removesuffix(_FENCE).strip()
    return text


async def corrected(
    session: AsyncSession,
    turn: models.Turn,
    conversation: models.Conversation,
    call: ModelCall,
    now: float,
) -> bool:
    """Ask a child whose answer does not fit its schema for another one, once; False where there is
    nothing to ask for, or no model call left, and for a flow, which gives the same answer again.
    """
    if conversation.kind != "child" or (call.asked is not None and call.asked.last):
        return False
    task = await session.get(models.ChildTask, conversation.id)
    if task is None or task.state != "running" or task.answer_schema is None:
        return False
    if await session.get(models.FlowRun, turn.id) is not None:
        return False
    faults = faults_of(call.text, task.answer_schema)
    event_id = f"correction:{conversation.id}"
    asked = await session.scalar(
        select(func.count()).select_from(models.Inbox).where(models.Inbox.event_id == event_id)
    )
    if not faults or asked:
        return False
    conversation.inbox_sequence += 1
    row = agent_row(
        conversation,
        sequence=conversation.inbox_sequence,
        kind=TASK,
        event_id=event_id,
        agent=conversation.agent,
        text=CORRECT.format(faults="; ".join(faults[:FAULTS_TOLD_MAX])),
        person_id=None,
        now=now,
    )
    first = await session.scalar(
        select(models.Inbox.identity_id).where(
            models.Inbox.conversation_id == conversation.id, models.Inbox.sequence == 1
        )
    )
    row.identity_id = first
    session.add(row)
    return True


def _check(
    value: Any, schema: Any, whole: Mapping[str, Any], where: str, faults: list[str]
) -> None:
    if not isinstance(schema, Mapping) or len(faults) >= FAULTS_TOLD_MAX:
        return
    schema = _resolved(schema, whole)
    place = where or "the answer"
    if not _is_of_type(value, schema.get("type")):
        faults.append(f"{place} is not of type {schema['type']}")
        return
    if "enum" in schema and value not in schema["enum"]:
        faults.append(f"{place} is none of {json.dumps(schema['enum'], ensure_ascii=False)}")
    if "const" in schema and value != schema["const"]:
        faults.append(f"{place} is not {json.dumps(schema['const'], ensure_ascii=False)}")
    for word in ("anyOf", "oneOf"):
        if word in schema and not any(_fits(value, each, whole) for each in schema[word]):
            faults.append(f"{place} fits none of the forms that it may have")
    if isinstance(value, dict):
        _check_object(value, schema, whole, where, faults)
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            _check(item, schema["items"], whole, f"{where}[{index}]", faults)


def _check_object(
    value: Mapping[str, Any],
    schema: Mapping[str, Any],
    whole: Mapping[str, Any],
    where: str,
    faults: list[str],
) -> None:
    known = schema.get("properties", {})
    missing = [name for name in schema.get("required", ()) if name not in value]
    if missing:
        faults.append(f"{where or 'the answer'} lacks {', '.join(missing)}")
    more = [name for name in value if name not in known]
    if more and schema.get("additionalProperties") is False:
        faults.append(f"{where or 'the answer'} has {', '.join(more)}, which nobody asked for")
    for name, part in known.items():
        if name in value:
            _check(value[name], part, whole, f"{where}.{name}".lstrip("."), faults)


def _fits(value: Any, schema: Any, whole: Mapping[str, Any]) -> bool:
    faults: list[str] = []
    _check(value, schema, whole, "", faults)
    return not faults


def _is_of_type(value: Any, wanted: Any) -> bool:
    if wanted is None:
        return True
    for name in wanted if isinstance(wanted, list) else [wanted]:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if name in ("number", "integer") and not is_number:
            continue
        if name == "integer" and isinstance(value, float) and value.is_integer():
            return True
        if isinstance(value, _TYPES.get(name, (object,))):
            return True
    return False


def _resolved(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema that a local reference names; one that names nothing allows everything."""
    for _ in range(16):  # references to references end
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        node: Any = whole
        for part in reference.removeprefix("#/").split("/"):
            node = node.get(part, {}) if isinstance(node, Mapping) else {}
        schema = node if isinstance(node, Mapping) else {}
    return {}
