"""What a request may want of the model's chat template: checked, turned into its variables."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from roost_inference.errors import PromptTooLong
from roost_inference.wire.chat_call import ChatCall
from roost_inference.wire.fields import RequestWarning, not_heeded
from roost_inference.wire.json_body import reject
from roost_inference.wire.prompt_options import PromptOptions

# A prompt that is to be cut is tokenised up to this many times the context.
CUT_FROM_CONTEXTS = 8
# Variables with fields of their own.
RESERVED = frozenset(
    (
        *("messages", "tools", "documents", "add_generation_prompt", "continue_final_message"),
        *("bos_token", "eos_token", "raise_exception", "strftime_now"),
    )
)


@dataclass(frozen=True, slots=True)
class TemplateTraits:
    """A template's text, the variables it reads, and whether it shows the names of participants and
    what an assistant says beside its calls."""

    source: str
    variables: frozenset[str]
    shows_names: bool
    shows_text_beside_calls: bool


def template_variables(
    call: ChatCall, traits: TemplateTraits, spells_control: Callable[[str], bool]
) -> dict[str, Any]:
    """The variables of the template beside messages and tools. Raises InvalidRequest for what this
    template can't do, and for texts that spell control tokens, which would act as such."""
    _check_continuing(call)
    if call.chat_template is not None and call.chat_template.strip() != traits.source.strip():
        reject(
            "chat_template must be the model's own: a template decides which text is control, so "
            "requests don't bring one along",
            param="chat_template",
            code="unsupported_field",
        )
    variables: dict[str, Any] = {}
    for name, value in (call.chat_template_kwargs or {}).items():
        if name in RESERVED or not name.isidentifier():
            reject(f"chat_template_kwargs can't set {name!r}", param="chat_template_kwargs")
        variables[name] = value
    if call.reasoning_effort is not None:
        variables.setdefault("reasoning_effort", call.reasoning_effort)
    if call.documents:
        if "documents" not in traits.variables:
            reject(
                "The model's template shows no documents; put them into a message",
                param="documents",
                code="unsupported_field",
            )
        variables["documents"] = call.documents
    for name, value in variables.items():
        if any(spells_control(text) for text in _texts(value)):
            is_own = name in (call.chat_template_kwargs or {})
            param = f"chat_template_kwargs.{name}" if is_own else name
            reject(f"{param} spells a control token of the model", param=param)
    begins = call.add_generation_prompt
    if begins is None:
        begins = not call.continue_final_message
    return {**variables, "add_generation_prompt": begins}


def unheeded_options(call: ChatCall, traits: TemplateTraits) -> list[RequestWarning]:
    """What a request wants of the template and this one does not do."""
    reason = "the model's template does not read it"
    warnings = [
        not_heeded(f"chat_template_kwargs.{name[:64]}", reason)
        for name in call.chat_template_kwargs or ()
        if name not in traits.variables
    ]
    if call.reasoning_effort is not None and "reasoning_effort" not in traits.variables:
        warnings.append(not_heeded("reasoning_effort", reason))
    if not traits.shows_names and any(m.name and m.role != "tool" for m in call.messages):
        warnings.append(not_heeded("messages[].name", "the model's template shows no names"))
    if not traits.shows_text_beside_calls and any(
        m.tool_calls and m.content for m in call.messages
    ):
        reason = "the model's template shows no text beside calls"
        warnings.append(not_heeded("messages[].content", reason))
    return warnings


def length_limit(options: PromptOptions, context_length: int) -> int:
    """Tokens that a prompt must stay below before it is cut."""
    if options.truncate_prompt_tokens is None:
        return context_length
    return context_length * CUT_FROM_CONTEXTS


def truncated(tokens: list[int], options: PromptOptions, context_length: int) -> list[int]:
    """The last tokens, as many as the request wants. Raises PromptTooLong where they don't leave
    room for an answer."""
    wanted = options.truncate_prompt_tokens
    if wanted is None:
        return tokens
    kept = context_length - 1 if wanted < 0 else wanted
    cut = tokens[len(tokens) - kept :] if kept < len(tokens) else tokens
    if len(cut) >= context_length:
        raise PromptTooLong(
            f"The prompt has {len(cut)} tokens after it was cut; the model's context of "
            f"{context_length} tokens must also hold the answer",
            param="truncate_prompt_tokens",
        )
    return cut


def _check_continuing(call: ChatCall) -> None:
    if not call.continue_final_message:
        return
    last = call.messages[-1]
    if call.add_generation_prompt:
        reject(
            "continue_final_message can't go with add_generation_prompt",
            param="continue_final_message",
        )
    if last.role != "assistant" or last.tool_calls:
        reject(
            "continue_final_message needs a text of the assistant as the last message",
            param="continue_final_message",
        )


def _texts(value: Any) -> Iterator[str]:
    """Every text in JSON, names of fields included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, child in value.items():
            yield name
            yield from _texts(child)
    elif isinstance(value, list):
        for child in value:
            yield from _texts(child)
