"""The request for completions of plain text, in OpenAI's older form."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from roost_inference.wire.chat_call import ChatCall, Count, StreamOptions
from roost_inference.wire.fields import RequestWarning, refuse_unsupported, warnings_of
from roost_inference.wire.json_body import reject
from roost_inference.wire.legacy import OLD_FIELDS
from roost_inference.wire.message import WireModel
from roost_inference.wire.parsing import first_error, parse_chat_call

CHOICES_MAX = 32  # of all prompts together
TOP_LOGPROBS_MAX = 20
TOKENS_BY_DEFAULT = 16
# What a completion can't have, as it is about messages, or told in the answers of chats alone.
CHAT_ONLY = frozenset(
    (
        *("messages", "tools", "tool_choice", "parallel_tool_calls", "top_logprobs"),
        *("add_generation_prompt", "continue_final_message", "chat_template", "documents"),
        *("chat_template_kwargs", "reasoning_effort", "prompt_logprobs", "return_token_ids"),
        *OLD_FIELDS,
    )
)
Prompt = str | tuple[int, ...]


def _prompts(value: Any) -> tuple[Prompt, ...]:
    """The prompts; a text, or a list of tokens, is one."""
    is_one = isinstance(value, str) or (isinstance(value, list) and value and _are_tokens(value))
    prompts = [value] if is_one else value
    if not isinstance(prompts, list) or not 0 < len(prompts) <= CHOICES_MAX:
        raise ValueError(f"must be a text, tokens, or a list of 1 to {CHOICES_MAX} of either")
    if not all(isinstance(one, str) or (one and _are_tokens(one)) for one in prompts):
        raise ValueError("must be texts, or lists of token ids that are not empty")
    return tuple(one if isinstance(one, str) else tuple(one) for one in prompts)


def _are_tokens(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)


class CompletionFields(WireModel):
    """The fields that only completions have, or have in another form."""

    prompt: Annotated[Any, BeforeValidator(_prompts)]
    echo: bool = False
    n: Annotated[int, Field(ge=1, le=CHOICES_MAX)] = 1
    best_of: int | None = None
    logprobs: int | None = Field(default=None, ge=0, le=TOP_LOGPROBS_MAX)
    max_tokens: Count = TOKENS_BY_DEFAULT
    stream: bool = False
    stream_options: StreamOptions | None = None

    @property
    def tells_prompt(self) -> bool:
        """Whether the logprobs of the prompt are told as well."""
        return self.echo and self.logprobs is not None

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """The prompts, as texts or tokens."""
        value: tuple[Prompt, ...] = self.prompt
        return value


@dataclass(frozen=True, slots=True)
class CompletionCall:
    """A checked request. settings: how to sample, as a chat would say it; its messages mean
    nothing. warnings: of fields that are not heeded."""

    fields: CompletionFields
    settings: ChatCall
    warnings: tuple[RequestWarning, ...]

    @property
    def wants_running_usage(self) -> bool:
        """Whether every chunk tells the usage so far."""
        options = self.fields.stream_options
        return options is not None and bool(
            options.include_usage and options.continuous_usage_stats
        )


def parse_completion_call(value: Any, *, session_id: str | None = None) -> CompletionCall:
    """A checked request from a body's JSON; `session_id` is the header's, for a body without.

    Raises InvalidRequest whose `param` is the path of the field at fault.
    """
    if not isinstance(value, dict):
        reject("The body must be a JSON object", code="invalid_json")
    for name in sorted(CHAT_ONLY & value.keys()):
        if value[name] not in (None, [], {}):
            reject(f"{name} is for chats only", param=name, code="unsupported_field")
    refuse_unsupported(value, CompletionFields, ChatCall)
    try:
        fields = CompletionFields.model_validate(value)
    except ValidationError as error:
        raise first_error(error) from error
    _check_together(fields)
    params = value.get("kv_transfer_params")
    if isinstance(params, dict) and params.get("do_remote_decode"):
        _check_single(fields)
    own = CompletionFields.model_fields.keys() | CHAT_ONLY
    settings = {name: child for name, child in value.items() if name not in own}
    settings |= {
        "messages": [{"role": "user", "content": ""}],
        "max_tokens": fields.max_tokens,
        "logprobs": fields.logprobs is not None,
        "top_logprobs": fields.logprobs,
        "prompt_logprobs": fields.logprobs if fields.tells_prompt else None,
    }
    return CompletionCall(
        fields,
        parse_chat_call(settings, session_id=session_id),
        tuple(warnings_of(value, CompletionFields, ChatCall)),
    )


def _check_together(fields: CompletionFields) -> None:
    if fields.best_of not in (None, fields.n):
        reject("best_of must be n: all choices that are made are given", param="best_of")
    if fields.n * len(fields.prompts) > CHOICES_MAX:
        reject(f"prompt and n ask for more than {CHOICES_MAX} choices", param="n")
    if fields.stream_options is not None and not fields.stream:
        reject("stream_options is for streams only; set stream to true", param="stream_options")
    if fields.tells_prompt and fields.stream:
        reject("echo with logprobs comes with whole answers only", param="echo")


def _check_single(fields: CompletionFields) -> None:
    """A prompt whose KV goes to another engine is the only one, and answered as a whole."""
    if fields.stream or fields.n > 1 or len(fields.prompts) > 1:
        param = "kv_transfer_params.do_remote_decode"
        reject(f"{param} takes one prompt and one whole answer: no stream, and n 1", param=param)
