"""Messages and tools as they come over the wire, in OpenAI's form."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

TOOL_NAME = r"^[A-Za-z0-9_.:/-]{1,128}$"


class UnsupportedContent(ValueError):
    """A content part has a type this engine can't read; becomes InvalidRequest at once."""


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


class WireModel(BaseModel):
    """The base of every value on the wire: frozen, strict, and unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, protected_namespaces=())


class FunctionCall(WireModel):
    """The function an assistant message calls; `arguments` is JSON text."""

    name: str
    arguments: str


class MessageToolCall(WireModel):
    """One tool call of an assistant message."""

    id: str = ""
    function: FunctionCall


class Message(WireModel):
    """One message; `content` is plain text whatever form it came in."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | None = None
    tool_calls: list[MessageToolCall] | None = None
    tool_call_id: str | None = None


class FunctionTool(WireModel):
    """A declared tool. `parameters` is a JSON schema of an object. Clients send null for what a
    tool lacks.
    """

    name: str = Field(pattern=TOOL_NAME)
    description: Annotated[str, BeforeValidator(lambda value: "" if value is None else value)] = ""
    parameters: Annotated[
        dict[str, Any], BeforeValidator(lambda value: {} if value is None else value)
    ] = Field(default_factory=dict)
    strict: bool | None = None


class DeclaredTool(WireModel):
    """An entry of `tools`."""

    type: Literal["function"]
    function: FunctionTool


class NamedFunction(WireModel):
    """The function that `tool_choice` names."""

    name: str


class NamedToolChoice(WireModel):
    """A `tool_choice` that forces one function."""

    type: Literal["function"]
    function: NamedFunction


def known_tools(value: Any) -> Any:
    """The tools of a type this engine knows; clients send tools of their vendors' own, too."""
    if not isinstance(value, list):
        return value
    return [t for t in value if not isinstance(t, dict) or t.get("type", "function") == "function"]
