"""Tools and the choice of one, from the form of responses to that of chat.

Functions and custom tools are the model's; tools that OpenAI itself runs, such as web_search, and
types that are not known here are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from roost_inference.errors import InvalidRequest
from roost_platform.gateway.families.chat.tools import TOOLS_MAX

MODES: Final = ("auto", "none", "required")
# A custom tool takes any text; models that only know functions get one with this parameter.
INPUT: Final = "input"


@dataclass(frozen=True, slots=True)
class Tools:
    """shown: those that the model has, as the response tells them; custom: names of custom tools.

    chat: `tools` and `tool_choice` of a chat request, without those that are absent.
    """

    shown: tuple[Mapping[str, Any], ...]
    custom: frozenset[str]
    chat: Mapping[str, Any]


def read_tools(body: Mapping[str, Any]) -> Tools:
    """The tools of this body. Raises InvalidRequest, which names the field."""
    given = body.get("tools")
    if given is None:
        given = []
    if not isinstance(given, list) or len(given) > TOOLS_MAX:
        raise InvalidRequest(f"tools has to be a list of at most {TOOLS_MAX}", param="tools")
    shown: list[Mapping[str, Any]] = []
    for index, tool in enumerate(given):
        where = f"tools[{index}]"
        if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
            raise InvalidRequest(f"{where} has to be an object with a type", param=where)
        if tool["type"] == "function":
            shown.append(_function(tool, where))
        elif tool["type"] == "custom":
            shown.append(_custom(tool, where))
    choice = body.get("tool_choice")
    allowed, mode = _chosen(choice, shown)
    chat: dict[str, Any] = {}
    if tools := [_chat_tool(tool) for tool in shown if tool["name"] in allowed]:
        chat["tools"] = tools
        if choice is not None:
            chat["tool_choice"] = mode
    elif mode == "required":
        raise InvalidRequest(
            "tool_choice is required, but none of the tools is a function or a custom tool",
            param="tool_choice",
        )
    custom = frozenset(tool["name"] for tool in shown if tool["type"] == "custom")
    return Tools(tuple(shown), custom, chat)


def _function(tool: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    parameters, strict = tool.get("parameters"), tool.get("strict")
    if parameters is not None and not isinstance(parameters, dict):
        raise InvalidRequest(f"{where}.parameters has to be an object", param=f"{where}.parameters")
    if strict is not None and not isinstance(strict, bool):
        raise InvalidRequest(f"{where}.strict has to be true or false", param=f"{where}.strict")
    return {
        "type": "function",
        "name": _name(tool, where),
        "description": _description(tool, where),
        "parameters": parameters,
        "strict": strict,
    }


def _custom(tool: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    form = tool.get("format")
    if form is not None and not isinstance(form, dict):
        raise InvalidRequest(f"{where}.format has to be an object", param=f"{where}.format")
    return {
        "type": "custom",
        "name": _name(tool, where),
        "description": _description(tool, where),
        "format": form or {"type": "text"},
    }


def _name(tool: Mapping[str, Any], where: str) -> str:
    name = tool.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidRequest(f"{where}.name has to be a text", param=f"{where}.name")
    return name


def _description(tool: Mapping[str, Any], where: str) -> str | None:
    text = tool.get("description")
    if text is not None and not isinstance(text, str):
        raise InvalidRequest(f"{where}.description has to be a text", param=f"{where}.description")
    return text


def _chat_tool(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """A tool in chat's form."""
    function = {"name": tool["name"], "description": tool["description"]}
    if tool["type"] == "custom":
        grammar = tool["format"].get("definition")
        about = [tool["description"], f"The input follows this grammar:\n{grammar}"]
        texts = [text for text in about[: 2 if isinstance(grammar, str) else 1] if text]
        function["description"] = "\n\n".join(texts) or None
        function["parameters"] = {
            "type": "object",
            "properties": {INPUT: {"type": "string", "description": "The input of the tool."}},
            "required": [INPUT],
            "additionalProperties": False,
        }
    else:
        function |= {"parameters": tool["parameters"], "strict": tool["strict"]}
    known = {name: value for name, value in function.items() if value is not None}
    return {"type": "function", "function": known}


def _chosen(choice: Any, shown: list[Mapping[str, Any]]) -> tuple[frozenset[str], Any]:
    """Names of the tools that the model may call, and chat's tool_choice."""
    names = frozenset(str(tool["name"]) for tool in shown)
    if choice is None:
        return names, "auto"
    if choice in MODES:
        return names, choice
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind in ("function", "custom"):
        name = choice.get("name")
        if not isinstance(name, str) or name not in names:
            raise InvalidRequest(
                f"tool_choice names {name!r}, which is not in tools", param="tool_choice"
            )
        return names, {"type": "function", "function": {"name": name}}
    if kind == "allowed_tools":
        listed, mode = choice.get("tools"), choice.get("mode", "auto")
        if not isinstance(listed, list) or mode not in ("auto", "required"):
            raise InvalidRequest(
                "tool_choice.allowed_tools needs tools and a mode, auto or required",
                param="tool_choice",
            )
        allowed = {str(tool.get("name")) for tool in listed if isinstance(tool, dict)}
        return names & allowed, mode
    if isinstance(kind, str):
        raise InvalidRequest(
            f"tool_choice asks for {kind[:100]!r}, a tool that OpenAI runs and no engine here has",
            param="tool_choice",
        )
    raise InvalidRequest(
        f"tool_choice has to be one of {', '.join(MODES)}, or name a tool", param="tool_choice"
    )
