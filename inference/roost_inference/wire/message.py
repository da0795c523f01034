"""Messages and tools as they come over the wire, in OpenAI's form."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

TOOL_NAME = r"^[A-Za-z0-9_.:/-]{1,128}$"
TOOLS_MAX = 512
TEXT_PARTS = ("text", "input_text", "output_text", "refusal")


class UnsupportedContent(ValueError):
    """A content part has a type this engine can't read; becomes InvalidRequest at once."""


def _text_of(content: Any) -> Any:
    """Content as one string: a string, or parts of which every one is text."""
    if not isinstance(content, list):
        return content
    texts = []
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get("refusal" if kind == "refusal" else "text") if kind else None
        if kind not in TEXT_PARTS:
            raise UnsupportedContent(
                f"Content part {index} has type {kind!r}; this engine reads text only"
            )
        if not isinstance(text, str):
            raise ValueError(f"content part {index} of type {kind!r} needs its text as a string")
        texts.append(text)
    return "\n".join(texts)


Text = Annotated[str, BeforeValidator(_text_of)]


class WireModel(BaseModel):
    """The base of every value on the wire: frozen and strict. Fields that are null count as absent,
    and unknown ones are ignored here; `wire.fields` names them in the answer's warnings."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        if isinstance(value, dict) and None in value.values():
            return {name: child for name, child in value.items() if child is not None}
        return value


class FunctionCall(WireModel):
    """The function an assistant message calls; `arguments` is JSON text."""

    name: str
    arguments: str = ""


class MessageToolCall(WireModel):
    """One tool call of an assistant message."""

    id: str = ""
    function: FunctionCall


class Message(WireModel):
    """One message; `content` is plain text whatever form it came in. What an assistant refused to
    say is its content. name: of the participant, which some templates show."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | None = None
    refusal: str | None = None
    name: str | None = Field(default=None, max_length=256)
    tool_calls: list[MessageToolCall] | None = None
    tool_call_id: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_content(cls, value: Any) -> Any:
        """An assistant's message may lack content: it refused, called tools, or said nothing."""
        if isinstance(value, dict) and value.get("role") == "assistant":
            said, refusal = value.get("content"), value.get("refusal")
            if said is None or (said == "" and refusal):
                return {**value, "content": "" if refusal is None else refusal}
        return value


class FunctionTool(WireModel):
    """A declared tool. `parameters` is a JSON schema of an object."""

    name: str = Field(pattern=TOOL_NAME)
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)
    strict: bool | None = None


class DeclaredTool(WireModel):
    """An entry of `tools`."""

    type: Literal["function"] = "function"
    function: FunctionTool


class NamedFunction(WireModel):
    """The function that `tool_choice` names."""

    name: str


class NamedToolChoice(WireModel):
    """A `tool_choice` that forces one function."""

    type: Literal["function"]
    function: NamedFunction


class AllowedFunction(WireModel):
    """One of the tools that `allowed_tools` names."""

    type: Literal["function"] = "function"
    function: NamedFunction


class AllowedTools(WireModel):
    """The tools that may be called; all declared ones stay in the prompt."""

    mode: Literal["auto", "required"] = "auto"
    tools: list[AllowedFunction] = Field(min_length=1, max_length=TOOLS_MAX)


class AllowedToolsChoice(WireModel):
    """A `tool_choice` that allows some of the declared tools."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


def known_tools(value: Any) -> Any:
    """The tools of a type this engine knows; clients send tools of their vendors' own, too."""
    if not isinstance(value, list):
        return value
    return [tool for tool in value if is_known_tool(tool)]


def is_known_tool(tool: Any) -> bool:
    """Whether an entry of `tools` is a function, or no tool at all, which is refused later."""
    return not isinstance(tool, dict) or tool.get("type") in (None, "function")
