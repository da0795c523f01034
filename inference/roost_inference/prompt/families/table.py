"""The families of chat models: one table, by what their templates contain."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roost_inference.prompt.call_markup import CallMarkup
from roost_inference.prompt.families.deepseek import (
    CALL_BEGIN,
    SEPARATOR,
    DeepSeekCalls,
    declared,
)
from roost_inference.prompt.families.gemma import CLOSING, OPENING, GemmaCalls
from roost_inference.prompt.families.harmony import HarmonyChannels
from roost_inference.prompt.families.hermes import HERMES
from roost_inference.prompt.families.json_text import DEPTH_MAX
from roost_inference.prompt.families.llama3 import LlamaCalls
from roost_inference.prompt.families.mistral import MistralList, MistralNamed
from roost_inference.prompt.families.xml_parameters import XmlParameters
from roost_inference.wire.message import FunctionTool

Messages = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Family:
    """What is special about the models of a family.

    signs: texts that its templates contain, all of them; lacks: texts that they don't contain.
    takes_tools: its templates write calls themselves, and declare tools; declares: for templates
    that don't declare them, the part of the system message that does. raw_tools, raw_arguments: how
    many levels deep templates write the strings of a declared function, and of a call's arguments,
    as they are and not as JSON. splices: the templates
    write answers as they were generated, so these may keep their tokens in later prompts;
    splices_calls: answers with calls as well. adapted: makes of messages what the templates take.
    """

    name: str
    signs: tuple[str, ...]
    markup: CallMarkup
    lacks: tuple[str, ...] = ()
    takes_tools: bool = True
    declares: Callable[[Sequence[FunctionTool], Callable[[str], str]], str] | None = None
    raw_tools: int = 0
    raw_arguments: int = 0
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


def with_objects(messages: Messages) -> Messages:
    """Arguments of calls that are no objects as the one parameter `arguments`: templates that write
    a tag for each parameter can't take them else."""
    return [
        {**message, "tool_calls": [_with_object(call) for call in message["tool_calls"]]}
        if message.get("tool_calls")
        else message
        for message in messages
    ]


def _with_object(call: Mapping[str, Any]) -> Mapping[str, Any]:
    function = call["function"]
    if isinstance(function["arguments"], Mapping):
        return call
    return {**call, "function": {**function, "arguments": {"arguments": function["arguments"]}}}


def with_responses(messages: Messages) -> Messages:
    """Results in the message that called, where Gemma's templates want them. One that follows no
    call is a person's message."""
    adapted: Messages = []
    for message in messages:
        calls = adapted[-1].get("tool_calls") if adapted else None
        if message["role"] != "tool":
            adapted.append(dict(message))
        elif calls:
            id, unknown = message.get("tool_call_id"), message.get("name") or "unknown"
            name = next((c["function"]["name"] for c in calls if id and c["id"] == id), unknown)
            response = {"name": name, "response": message["content"]}
            adapted[-1]["tool_responses"] = [*adapted[-1].get("tool_responses", ()), response]
        else:
            adapted.append({"role": "user", "content": message["content"]})
    return adapted


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
    Family("deepseek-r1", (CALL_BEGIN, "```json"), DeepSeekCalls(in_code=True)),
    Family(
        "deepseek-v3.1",
        (CALL_BEGIN, SEPARATOR),
        DeepSeekCalls(in_code=False),
        lacks=("```json",),
        declares=declared,
    ),
    Family(
        "gemma-4",
        (f"{OPENING}call:", CLOSING),
        GemmaCalls(),
        raw_tools=DEPTH_MAX,
        raw_arguments=DEPTH_MAX,
        splices=False,  # its prompts open an answer with an empty thought, which they drop later
        adapted=with_responses,
    ),
    # Tools as tags, too: the strings of each parameter stand as they are.
    Family(
        "qwen-coder",
        ("<tool_call>", "<function=", "<parameter=", "<name>"),
        XmlParameters(),
        raw_tools=4,
        raw_arguments=1,
        splices_calls=True,
        adapted=with_objects,
    ),
    Family(
        "qwen-xml",
        ("<tool_call>", "<function=", "<parameter="),
        XmlParameters(),
        raw_arguments=1,
        splices_calls=True,
        adapted=with_objects,
    ),
    Family("hermes", ("<tool_call>",), HERMES, lacks=("<function=",), splices_calls=True),
)
OTHER = Family("other", (), HERMES, takes_tools=False, splices_calls=True)


def family_of(template: str, *, takes_tools: bool) -> Family:
    """The family of a template. takes_tools: whether it reads the variable `tools`; one that does
    not is told of them in words, and asked for Hermes' markup."""
    for family in FAMILIES:
        has = all(sign in template for sign in family.signs)
        if has and not any(sign in template for sign in family.lacks):
            can = takes_tools or family.declares or family.markup.always_parses
            return family if can else OTHER
    return OTHER


def markup_parts(template: str) -> Sequence[str]:
    """Control tokens that whoever reads this family's answers has to see as text."""
    return family_of(template, takes_tools=True).markup.parts
