"""The chat-completion request as it comes over the wire, checked field by field.

OpenAI's fields plus vLLM's (`session_id`, `cache_salt`, `priority`, `kv_transfer_params`, `top_k`,
`min_p`, `repetition_penalty`, `ignore_eos`), and our `tenant`. `priority` names the class, lower
goes first as with vLLM: up to 0 interactive, 1 a tool's continuation, from 2 on background;
`tenant` says whose share is used, where that is not what `cache_salt` says. Unknown fields and
tools of unknown type are ignored.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from roost_inference.errors import InvalidRequest
from roost_inference.http.json_body import invalid
from roost_inference.request import KvPolicy, SamplingParams

STOP_STRINGS_MAX = 16
TOP_LOGPROBS_MAX = 20
TOOLS_MAX = 512
MESSAGES_MAX = 16384
SESSION_ID_CHARACTERS_MAX = 256
TOOL_NAME = r"^[A-Za-z0-9_.:/-]{1,128}$"


class UnsupportedContent(ValueError):
    """A content part of a type this engine can't read; becomes InvalidRequest at once."""


def _text_of(content: Any) -> Any:
    """Content as one string: a string, or parts of which every one is text."""
    if not isinstance(content, list):
        return content
    texts = []
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get("text") if isinstance(part, dict) else None
        if kind not in ("text", "input_text", "output_text"):
            raise UnsupportedContent(
                f"Content part {index} has type {kind!r}; this engine reads text only"
            )
        if not isinstance(text, str):
            raise ValueError(f"content part {index} of type 'text' needs a string in 'text'")
        texts.append(text)
    return "\n".join(texts)


Text = Annotated[str, BeforeValidator(_text_of)]


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, protected_namespaces=())


class FunctionCall(_Wire):
    name: str
    arguments: str


class MessageToolCall(_Wire):
    id: str = ""
    function: FunctionCall


class Message(_Wire):
    """One message; `content` is plain text whatever form it came in."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | None = None
    tool_calls: list[MessageToolCall] | None = None
    tool_call_id: str | None = None


class FunctionTool(_Wire):
    """A declared tool. `parameters` is a JSON schema of an object."""

    name: str = Field(pattern=TOOL_NAME)
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)
    strict: bool | None = None


class _Tool(_Wire):
    type: Literal["function"]
    function: FunctionTool


class _NamedFunction(_Wire):
    name: str


class _NamedChoice(_Wire):
    type: Literal["function"]
    function: _NamedFunction


class JsonSchemaFormat(_Wire):
    name: str = "response"
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(_Wire):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None


class StreamOptions(_Wire):
    include_usage: bool = False


# vLLM names tiers by medium and locality; ours are ram, disk and object.
_TIERS = {
    ("CPU", None): ("ram",),
    ("CPU", "LOCAL"): ("ram",),
    ("CPU", "REMOTE"): (),
    ("STORAGE", None): ("disk", "object"),
    ("STORAGE", "LOCAL"): ("disk",),
    ("STORAGE", "REMOTE"): ("object",),
}


def _tier_names(value: Any) -> Any:
    """Names, or vLLM's {"medium", "locality"}; an empty list allows none. Loading from below RAM
    goes through RAM, which needs no permission of its own."""
    if not isinstance(value, list):
        return value
    names: list[str] = []
    for item in value:
        if isinstance(item, dict):
            place = (item.get("medium"), item.get("locality"))
            if place not in _TIERS:
                raise ValueError("medium is CPU or STORAGE, locality LOCAL or REMOTE")
            names += _TIERS[place]
        elif item in ("ram", "disk", "object"):
            names.append(item)
        else:
            raise ValueError("a tier is ram, disk, object, or an object with a medium")
    return names


class KVTransferParams(_Wire):
    """Bounds of paging for one request, in tokens, and the tiers it may load from."""

    max_offload_tokens: int | None = Field(default=None, ge=0)
    max_load_tokens: int | None = Field(default=None, ge=0)
    kv_load_tiers: Annotated[list[str], BeforeValidator(_tier_names)] | None = None


class SessionOrder(_Wire):
    """What may stand in the body of a request about a session."""

    reason: str = "tool"
    ttl_s: float = Field(default=300.0, gt=0, le=7 * 86_400)
    cache_salt: str | None = Field(default=None, max_length=1024)


def _list_of_stops(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _known_tools(value: Any) -> Any:
    """Tools of a type this engine doesn't know are left out: clients send their vendors' own."""
    if not isinstance(value, list):
        return value
    return [t for t in value if not isinstance(t, dict) or t.get("type", "function") == "function"]


Penalty = Annotated[float, Field(ge=-2.0, le=2.0)]
Count = Annotated[int, Field(ge=1)]
Stop = Annotated[str, Field(min_length=1, max_length=512)]


class ChatCall(_Wire):
    """A checked request. None means the field was absent or null."""

    model: str | None = None
    messages: list[Message] = Field(min_length=1, max_length=MESSAGES_MAX)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: Annotated[list[_Tool], BeforeValidator(_known_tools)] | None = Field(
        default=None, max_length=TOOLS_MAX
    )
    tool_choice: Literal["auto", "none", "required"] | _NamedChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    n: int | None = None
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
    logit_bias: dict[str, float] | None = Field(default=None, max_length=1024)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=TOP_LOGPROBS_MAX)
    ignore_eos: bool | None = None
    session_id: str | None = Field(default=None, min_length=1, max_length=SESSION_ID_CHARACTERS_MAX)
    cache_salt: str | None = Field(default=None, min_length=1, max_length=1024)
    tenant: str | None = Field(default=None, min_length=1, max_length=256)
    priority: int | None = Field(default=None, ge=-(2**31), lt=2**31)
    kv_transfer_params: KVTransferParams | None = None

    @property
    def functions(self) -> list[FunctionTool]:
        """The declared tools in a stable order, so that a client's reordering keeps the prefix."""
        return sorted((tool.function for tool in self.tools or ()), key=lambda f: f.name)

    @property
    def wanted_tokens(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    def kv_policy(self) -> KvPolicy:
        params = self.kv_transfer_params
        if params is None:
            return KvPolicy()
        tiers = params.kv_load_tiers
        return KvPolicy(
            params.max_offload_tokens,
            params.max_load_tokens,
            None if tiers is None else frozenset(tiers),
        )

    def forced_tool(self) -> str | None:
        return (
            self.tool_choice.function.name if isinstance(self.tool_choice, _NamedChoice) else None
        )

    def sampling(self) -> SamplingParams:
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


def parse_chat_call(value: Any, *, session_id: str | None = None) -> ChatCall:
    """A checked request from a body's JSON; `session_id` is the header's, for a body without.

    Raises InvalidRequest whose `param` is the path of the field at fault.
    """
    if not isinstance(value, dict):
        invalid("The body must be a JSON object", code="invalid_json")
    if session_id and value.get("session_id") is None:
        value = {**value, "session_id": session_id}
    try:
        call = ChatCall.model_validate(value)
    except ValidationError as error:
        raise _first_error(error) from error
    _check_together(call)
    return call


def parse_session_order(value: Any) -> SessionOrder:
    """The checked body of a request about a session. Raises InvalidRequest."""
    if not isinstance(value, dict):
        invalid("The body must be a JSON object", code="invalid_json")
    try:
        return SessionOrder.model_validate(value)
    except ValidationError as error:
        raise _first_error(error) from error


def _check_together(call: ChatCall) -> None:
    """The rules between fields that a type can't express."""
    if call.n not in (None, 1):
        invalid("This engine gives one choice a request; n must be 1", param="n")
    if call.top_logprobs is not None and not call.logprobs:
        invalid("top_logprobs needs logprobs to be true", param="top_logprobs")
    if call.stream_options is not None and not call.stream:
        invalid("stream_options is for streams only; set stream to true", param="stream_options")
    for index, message in enumerate(call.messages):
        if message.content is None and not (message.role == "assistant" and message.tool_calls):
            invalid("content must be text", param=f"messages[{index}].content")
        if message.role == "tool" and not message.tool_call_id:
            invalid("A tool message needs tool_call_id", param=f"messages[{index}].tool_call_id")
    names = [function.name for function in call.functions]
    if len(set(names)) < len(names):
        invalid("Two tools have the same name", param="tools")
    if call.tool_choice not in (None, "auto", "none") and not names:
        invalid("tool_choice asks for a tool but none is declared", param="tool_choice")
    forced = call.forced_tool()
    if forced is not None and forced not in names:
        invalid(f"tool_choice names {forced!r}, which is not declared", param="tool_choice")
    form = call.response_format
    if form is not None and form.type == "json_schema" and form.json_schema is None:
        invalid("response_format json_schema needs a schema", param="response_format.json_schema")
    if any(not token.isascii() or not token.isdigit() for token in call.logit_bias or ()):
        invalid("The keys of logit_bias must be token ids", param="logit_bias")


def _first_error(error: ValidationError) -> InvalidRequest:
    first = error.errors()[0]
    # Tags of unions ("_NamedChoice", "literal[…]", "function-before[…]") are no part of the path.
    param = ""
    for step in first["loc"]:
        if isinstance(step, int):
            param += f"[{step}]"
        elif not step.startswith(("_", "literal[", "function-", "list[", "nullable[")):
            param += f".{step}" if param else step
    cause = first.get("ctx", {}).get("error")
    text = str(cause) if isinstance(cause, ValueError) else first["msg"]
    invalid = InvalidRequest(f"{param}: {text}" if param else text, param=param or None)
    if isinstance(cause, UnsupportedContent):
        invalid.code = "unsupported_content"
    elif first["type"] == "missing":
        invalid.code = "missing_field"
    return invalid
