"""What happens with each field of a request: obeyed, refused, or named in the answer's warnings.

A field that would constrain the answer is obeyed or refused. Any other one that is not obeyed, and
every field that is unknown, is named in the `warnings` of the answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

from pydantic import BaseModel

from roost_inference.wire.json_body import reject
from roost_inference.wire.message import TEXT_PARTS, is_known_tool

WARNINGS_MAX = 32
NAME_CHARACTERS_MAX = 80
PARAMETERS = "the model's own template gives the prompt its form"
SAMPLER = "this sampler is not one of the engine's"
RECORDS = "the engine keeps no records of callers"
FORM = "use response_format or structured_outputs"

WarningCode = Literal["unknown_field", "unsupported_field"]


@dataclass(frozen=True, slots=True)
class RequestWarning:
    """A field of a request that the answer does not heed."""

    code: WarningCode
    field: str
    message: str

    def report(self) -> dict[str, str]:
        """The warning as the answer shows it."""
        return {"code": self.code, "field": self.field, "message": self.message}


@dataclass(frozen=True, slots=True)
class FieldRule:
    """A known field that is not obeyed. asks_nothing: values that a request may have for it all the
    same, beside null; `reason` follows "because"."""

    reason: str
    asks_nothing: tuple[Any, ...] = ()

    def is_met(self, value: Any) -> bool:
        """Whether the value asks for nothing that the engine lacks."""
        return value is None or any(
            value == neutral and type(value) is type(neutral) for neutral in self.asks_nothing
        )


REFUSED: Mapping[str, FieldRule] = {
    "allowed_token_ids": FieldRule("tokens are chosen from the whole vocabulary", ([],)),
    "audio": FieldRule("the model writes text only"),
    "echo": FieldRule("only /v1/completions repeats a prompt", (False,)),
    "format": FieldRule(FORM, ("",)),
    "grammar": FieldRule(FORM, ("",)),
    "guided_choice": FieldRule(FORM),
    "guided_grammar": FieldRule(FORM),
    "guided_json": FieldRule(FORM),
    "guided_regex": FieldRule(FORM),
    "json_schema": FieldRule(FORM),
    "logits_processors": FieldRule("requests bring no code", ([],)),
    "modalities": FieldRule("the model writes text only", (["text"],)),
    "n_predict": FieldRule("use max_completion_tokens", (-1,)),
    "repetition_detection": FieldRule("repeated text does not end an answer"),
    "suffix": FieldRule("the engine does not fill in the middle", ("",)),
    "structural_tag": FieldRule("use structured_outputs"),
    "thinking_token_budget": FieldRule("reasoning has no bound of its own"),
    "use_beam_search": FieldRule("answers are sampled", (False,)),
}  # fmt: skip
WARNED: Mapping[str, FieldRule] = {
    "cache_prompt": FieldRule("prompts are always cached", (True,)),
    "chat_template_content_format": FieldRule(PARAMETERS, ("auto", "string")),
    "dry_multiplier": FieldRule(SAMPLER, (0, 0.0)),
    "dynatemp_range": FieldRule(SAMPLER, (0, 0.0)),
    "ec_transfer_params": FieldRule("no encoder runs elsewhere"),
    "guided_decoding_backend": FieldRule("there is one backend"),
    "guided_whitespace_pattern": FieldRule("there is one way to write white space"),
    "id_slot": FieldRule("session_id names what goes on", (-1,)),
    "include_reasoning": FieldRule("reasoning is part of the text", (True,)),
    "kv_hints": FieldRule("hints go to /v1/sessions"),
    "length_penalty": FieldRule("answers are sampled", (1, 1.0)),
    "metadata": FieldRule(RECORDS, ({},)),
    "mirostat": FieldRule(SAMPLER, (0,)),
    "mm_processor_kwargs": FieldRule("the model reads text only", ({},)),
    "options": FieldRule("the fields of options are fields of the request here", ({},)),
    "prediction": FieldRule("drafts come from the conversation itself"),
    "prompt_cache_key": FieldRule("session_id names what goes on", ("",)),
    "prompt_cache_retention": FieldRule("what stays is decided by the engine's settings"),
    "reasoning": FieldRule("chat_template_kwargs turns reasoning on and off"),
    "repeat_penalty": FieldRule("use repetition_penalty", (1, 1.0)),
    "request_id": FieldRule("the header x-request-id names a request"),
    "safety_identifier": FieldRule(RECORDS, ("",)),
    "service_tier": FieldRule("use priority", ("auto", "default")),
    "skip_special_tokens": FieldRule("control tokens are never part of the text", (True,)),
    "spaces_between_special_tokens": FieldRule("control tokens have no spaces", (True,)),
    "store": FieldRule(RECORDS, (False,)),
    "stream_interval": FieldRule("text is sent as it is written", (1,)),
    "think": FieldRule("chat_template_kwargs turns reasoning on and off"),
    "typical_p": FieldRule(SAMPLER, (1, 1.0)),
    "user": FieldRule(RECORDS, ("",)),
    "verbosity": FieldRule("the prompt tells how long an answer is", ("medium",)),
    "vllm_xargs": FieldRule("the engine has no extensions", ({},)),
    "web_search_options": FieldRule("the engine searches nothing"),
    "xtc_probability": FieldRule(SAMPLER, (0, 0.0)),
    "messages[].annotations": FieldRule("templates don't show them", ([],)),
    "messages[].audio": FieldRule("the model reads text only"),
    "messages[].reasoning": FieldRule("templates leave earlier reasoning out", ("",)),
    "messages[].reasoning_content": FieldRule("templates leave earlier reasoning out", ("",)),
    "response_format.json_schema.description": FieldRule("the prompt tells what is wanted", ("",)),
}  # fmt: skip
# Where an object says of what kind it is, and that of calls in streams, where it stands.
SILENT = frozenset(("messages[].tool_calls[].type", "messages[].tool_calls[].index"))


def refuse_unsupported(value: Mapping[str, Any], *models: type[BaseModel]) -> None:
    """Raise InvalidRequest for a field that would constrain the answer and that requests of these
    models don't obey."""
    for name in sorted(REFUSED.keys() & value.keys() - names_on_the_wire(*models)):
        rule = REFUSED[name]
        if not rule.is_met(value[name]):
            reject(f"{name} is not supported: {rule.reason}", param=name, code="unsupported_field")


def warnings_of(value: Mapping[str, Any], *models: type[BaseModel]) -> list[RequestWarning]:
    """The fields of a checked request that the answer does not heed, each one once; of more than
    WARNINGS_MAX the last warning tells how many."""
    found: dict[str, RequestWarning] = {}
    for path, child in _strangers(models, value, ""):
        rule = WARNED.get(path)
        if path not in found and path not in SILENT and not (rule and rule.is_met(child)):
            found[path] = _warning(path, rule)
    for kind in sorted(_foreign_tools(value.get("tools"))):
        reason = f"Tools of the type {kind!r} are not offered to the model"
        found[f"tools[{kind}]"] = RequestWarning("unsupported_field", "tools", reason)
    warnings = list(found.values())
    if len(warnings) <= WARNINGS_MAX:
        return warnings
    left_out = len(warnings) - WARNINGS_MAX + 1
    rest = RequestWarning("unknown_field", "", f"{left_out} more fields are not heeded")
    return [*warnings[: WARNINGS_MAX - 1], rest]


def with_warnings(answer: Mapping[str, Any], warnings: Sequence[RequestWarning]) -> dict[str, Any]:
    """The answer with its `warnings`, where there are some."""
    return {**answer, **({"warnings": [w.report() for w in warnings]} if warnings else {})}


def names_on_the_wire(*models: type[BaseModel]) -> frozenset[str]:
    """The fields that these models have, as clients write them: all of them are obeyed."""
    return frozenset(name for model in models for name in _children(model))


def not_heeded(field: str, reason: str) -> RequestWarning:
    """The warning of a known field, with a reason that follows "because"."""
    return RequestWarning("unsupported_field", field, f"{field} is not heeded: {reason}")


def _warning(path: str, rule: FieldRule | None) -> RequestWarning:
    if rule is not None:
        return not_heeded(path, rule.reason)
    name = "".join(c if c.isprintable() else "�" for c in path[:NAME_CHARACTERS_MAX])
    return RequestWarning("unknown_field", name, f"{name} is not a field that the engine knows")


def _strangers(
    models: tuple[type[BaseModel], ...], value: Mapping[str, Any], path: str
) -> Iterator[tuple[str, Any]]:
    """The fields, with their values, that none of the models has, also further down."""
    for name, child in value.items():
        where = f"{path}.{name}" if path else name
        known = [_children(model)[name] for model in models if name in _children(model)]
        if child is None or child == [] or child == {}:
            continue
        if not known:
            if path or name not in REFUSED:
                yield where, child
            continue
        inner = tuple(model for group in known for model in group)
        if name == "content" and isinstance(child, list):
            yield from _strange_parts(child, f"{where}[]")
        elif inner and isinstance(child, dict):
            yield from _strangers(inner, child, where)
        elif inner and isinstance(child, list):
            for item in child:
                if isinstance(item, dict) and (name != "tools" or is_known_tool(item)):
                    yield from _strangers(inner, item, f"{where}[]")


def _strange_parts(parts: list[Any], path: str) -> Iterator[tuple[str, Any]]:
    for part in parts:
        if isinstance(part, dict) and part.get("type") in TEXT_PARTS:
            for name in part.keys() - {"type", "text", "refusal"}:
                if part[name] not in (None, [], {}):
                    yield f"{path}.{name}", part[name]


@lru_cache(maxsize=64)
def _children(model: type[BaseModel]) -> dict[str, tuple[type[BaseModel], ...]]:
    """The names of a model's fields on the wire, with the models that their values may have."""
    return {
        field.alias or name: tuple(_models_in(field.annotation))
        for name, field in model.model_fields.items()
    }


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _foreign_tools(tools: Any) -> set[str]:
    if not isinstance(tools, list):
        return set()
    return {str(tool["type"])[:NAME_CHARACTERS_MAX] for tool in tools if not is_known_tool(tool)}
