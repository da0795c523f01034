"""The families of chat models: one table, by what their templates contain."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roost_inference.prompt.call_markup import CallMarkup
from roost_inference.prompt.families.deepseek import CALL_BEGIN, DeepSeekCalls
from roost_inference.prompt.families.harmony import HarmonyChannels
from roost_inference.prompt.families.hermes import HERMES
from roost_inference.prompt.families.llama3 import LlamaCalls
from roost_inference.prompt.families.mistral import MistralList, MistralNamed

Messages = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Family:
    """What is special about the models of a family.

    signs: texts that its templates contain, all of them; lacks: texts that they don't contain.
    takes_tools: its templates declare tools and write calls themselves. splices: the templates
    write answers as they were generated, so these may keep their tokens in later prompts;
    splices_calls: answers with calls as well. adapted: makes of messages what the templates take.
    """

    name: str
    signs: tuple[str, ...]
    markup: CallMarkup
    lacks: tuple[str, ...] = ()
    takes_tools: bool = True
    splices: bool = True
    splices_calls: bool = False
    adapted: Callable[[Messages], Messages] = lambda messages: messages


def short_ids(messages: Messages) -> Messages:
    """Ids of calls as Mistral's templates want them: nine letters and digits."""
    return [
        {**message, **_with_short_id(message, "tool_call_id"), **_calls_with_short_ids(message)}
        for message in messages
    ]


def _calls_with_short_ids(message: Mapping[str, Any]) -> Mapping[str, Any]:
    calls = message.get("tool_calls")
    return (
        {"tool_calls": [{**call, **_with_short_id(call, "id")} for call in calls]} if calls else {}
    )


def _with_short_id(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    if key not in value:
        return {}
    return {key: hashlib.sha256(str(value[key]).encode()).hexdigest()[:9]}


def mistrals(messages: Messages) -> Messages:
    """Messages whose ids are short, and in which a person writes only after an answer, as Mistral's
    templates want it. A turn that ended with a tool's result gets a blank one."""
    closed: Messages = []
    for message in short_ids(messages):
        if message["role"] == "user" and closed and closed[-1]["role"] == "tool":
            closed.append({"role": "assistant", "content": " "})
        closed.append(message)
    return closed


def one_call_a_message(messages: Messages) -> Messages:
    """Each call in a message of its own, with its result behind it, where results name their calls;
    these templates take one call at a time, and a result belongs to the last one."""
    results = {m["tool_call_id"]: m for m in messages if m["role"] == "tool" and m["tool_call_id"]}
    split: Messages = []
    placed: set[str] = set()
    for message in messages:
        calls: Sequence[Any] = message.get("tool_calls") or ()
        if message["role"] == "tool" and message["tool_call_id"] in placed:
            continue
        if len(calls) < 2:
            split.append(message)
            continue
        for number, call in enumerate(calls):
            content = message["content"] if number == 0 else ""
            split.append({**message, "content": content, "tool_calls": [call]})
            if result := results.get(call["id"]):
                split.append(result)
                placed.add(call["id"])
    return split


# The first that matches. Without a match the model is asked to write Hermes' markup.
FAMILIES: tuple[Family, ...] = (
    Family(
        "gpt-oss",
        ("<|channel|>", "<|start|>assistant"),
        HarmonyChannels(),
        splices=False,
        adapted=one_call_a_message,
    ),
    Family(
        "mistral-list",
        ("[TOOL_CALLS]", "[AVAILABLE_TOOLS]"),
        MistralList(),
        lacks=("[ARGS]",),
        adapted=mistrals,
    ),
    Family(
        "mistral-id",
        ("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"),
        MistralNamed(with_id=True),
        adapted=mistrals,
    ),
    Family("mistral", ("[TOOL_CALLS]", "[ARGS]"), MistralNamed(with_id=False), adapted=mistrals),
    Family(
        "llama-3",
        ("<|start_header_id|>", '"parameters": '),
        LlamaCalls(),
        lacks=("<tool_call>",),
        adapted=one_call_a_message,
    ),
    Family("deepseek-r1", (CALL_BEGIN, "```json"), DeepSeekCalls()),
    # Qwen's coder models write calls as <function=…> in the same tags: not what we parse.
    Family("hermes", ("<tool_call>",), HERMES, lacks=("<function=",), splices_calls=True),
)
OTHER = Family("other", (), HERMES, takes_tools=False, splices_calls=True)


def family_of(template: str, *, takes_tools: bool) -> Family:
    """The family of a template. takes_tools: whether it reads the variable `tools`; one that does
    not is told of them in words, and asked for Hermes' markup."""
    for family in FAMILIES:
        has = all(sign in template for sign in family.signs)
        if has and not any(sign in template for sign in family.lacks):
            return family if takes_tools or family.markup.always_parses else OTHER
    return OTHER


def markup_parts(template: str) -> Sequence[str]:
    """Control tokens that whoever reads this family's answers has to see as text."""
    return family_of(template, takes_tools=True).markup.parts
