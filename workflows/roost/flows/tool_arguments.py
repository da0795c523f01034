"""What a flow gives to a tool."""

from collections.abc import Mapping
from typing import Any

from roost.checks import shown
from roost.errors import FlowError
from roost.execution.secret_values import has_secret
from roost.tools import Tool


def require_tool(tool: object, where: str, arguments: Mapping[str, Any]) -> None:
    """Raise FlowError for what is no tool, and for arguments that a journal would keep hidden."""
    if not isinstance(tool, Tool):
        raise FlowError(f"{where}: give a tool, which is declared with @tool, not {shown(tool)}.")
    hidden = next((name for name, value in arguments.items() if has_secret(value)), None)
    if hidden is not None:
        raise FlowError(
            f"{where} {tool.name}: {hidden} has a secret that hides itself, and {tool.name} would "
            f"get asterisks. Give an id of it, or its text by get_secret_value(), which the "
            f"journal then shows."
        )
