"""The chat-completion request as a value: its fields, and what the engine makes of them.

OpenAI's fields plus vLLM's (`session_id`, `cache_salt`, `priority`, `kv_transfer_params`, `top_k`,
`min_p`, `repetition_penalty`, `ignore_eos`), and our `tenant`. `priority` names the class, lower
goes first as with vLLM: up to 0 interactive, 1 a tool's continuation, from 2 on background;
`tenant` says whose share is used, where that is not what `cache_salt` says. Unknown fields and
tools of unknown type are ignored.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from roost_inference.request import SamplingParams
from roost_inference.wire.answer_options import AnswerOptions
from roost_inference.wire.kv_transfer import KvTransferParams
from roost_inference.wire.message import (
    DeclaredTool,
    FunctionTool,
    Message,
    NamedToolChoice,
    WireModel,
    known_tools,
)

STOP_STRINGS_MAX = 16
TOP_LOGPROBS_MAX = 20
TOOLS_MAX = 512
MESSAGES_MAX = 16384
SESSION_ID_CHARACTERS_MAX = 256


class JsonSchemaFormat(WireModel):
    """The schema an answer has to follow."""

    name: str = "response"
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(WireModel):
    """The form of the answer's text. schema: of a json_object, as llama-server takes it.
    structures, triggers, format: tags within free text, see `prompt.forms`."""

    type: Literal["text", "json_object", "json_schema", "structural_tag"]
    json_schema: JsonSchemaFormat | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    structures: list[dict[str, Any]] | None = None
    triggers: list[str] | None = None
    format: dict[str, Any] | None = None


class StreamOptions(WireModel):
    """Options of a streamed answer."""

    include_usage: bool = False
    continuous_usage_stats: bool | None = None


def _list_of_stops(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Penalty = Annotated[float, Field(ge=-2.0, le=2.0)]
Count = Annotated[int, Field(ge=1)]
# Larger ones become infinite in the logits' 32 bits, and then no token can be chosen.
Bias = Annotated[float, Field(ge=-100.0, le=100.0)]
Stop = Annotated[str, Field(min_length=1, max_length=512)]


class ChatCall(AnswerOptions):
    """A checked request. None means the field was absent or null."""

    model: str | None = None
    messages: list[Message] = Field(min_length=1, max_length=MESSAGES_MAX)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: Annotated[list[DeclaredTool], BeforeValidator(known_tools)] | None = Field(
        default=None, max_length=TOOLS_MAX
    )
    tool_choice: Literal["auto", "none", "required"] | NamedToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    temperature: float | None = Field(default=None, ge=0.0, le=2.0)
    top_p: float | None = Field(default=None, gt=0.0, le=1.0)
    top_k: int | None = Field(default=None, ge=-1)
    min_p: float | None = Field(default=None, ge=0.0, le=1.0)
    repetition_penalty: float | None = Field(default=None, gt=0.0, le=10.0)
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**64)
    stop: Annotated[list[Stop], BeforeValidator(_list_of_stops)] | None = Field(
        default=None, max_length=STOP_STRINGS_MAX
    )
    logit_bias: dict[str, Bias] | None = Field(default=None, max_length=1024)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=TOP_LOGPROBS_MAX)
    ignore_eos: bool | None = None
    session_id: str | None = Field(default=None, min_length=1, max_length=SESSION_ID_CHARACTERS_MAX)
    cache_salt: str | None = Field(default=None, min_length=1, max_length=1024)
    tenant: str | None = Field(default=None, min_length=1, max_length=256)
    priority: int | None = Field(default=None, ge=-(2**31), lt=2**31)
    kv_transfer_params: KvTransferParams | None = None

    @property
    def functions(self) -> list[FunctionTool]:
        """The declared tools in a stable order, so that a client's reordering keeps the prefix."""
        return sorted((tool.function for tool in self.tools or ()), key=lambda f: f.name)

    @property
    def wanted_tokens(self) -> int | None:
        """How many tokens the answer may have, None where the request does not say."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def wants_running_usage(self) -> bool:
        """Whether every chunk tells the usage so far; as with vLLM only beside the last one's."""
        options = self.stream_options
        return options is not None and bool(
            options.include_usage and options.continuous_usage_stats
        )

    @property
    def begins_freely(self) -> bool:
        """Whether the answer may begin with any text: no form and no tool is forced on it."""
        form, outputs = self.response_format, self.structured_outputs
        is_text = form is None or form.type in ("text", "structural_tag")
        is_text = is_text and (outputs is None or outputs.structural_tag is not None)
        return is_text and (not self.tools or self.tool_choice in (None, "auto", "none"))

    def forced_tool(self) -> str | None:
        """The name of the function that has to be called, None if the model chooses."""
        choice = self.tool_choice
        return choice.function.name if isinstance(choice, NamedToolChoice) else None

    def sampling(self) -> SamplingParams:
        """How the answer's tokens are chosen; absent fields get OpenAI's defaults."""
        bias = {int(token): value for token, value in (self.logit_bias or {}).items()}
        return SamplingParams(
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            top_k=max(self.top_k or 0, 0),
            min_p=self.min_p or 0.0,
            seed=None if self.seed is None else self.seed % 2**63,
            frequency_penalty=self.frequency_penalty or 0.0,
            presence_penalty=self.presence_penalty or 0.0,
            repetition_penalty=self.repetition_penalty or 1.0,
            logit_bias=bias,
            top_logprobs=(self.top_logprobs or 0) if self.logprobs else None,
        )
