"""Write agents: `from roost import Agent, Context, tool`."""

from roost.agent import Agent, ModelSettings
from roost.context import Context
from roost.errors import DefinitionError, ModelRetry, RoostError, ToolFailed
from roost.files import File
from roost.tools import Tool, tool

__all__ = [
    "Agent",
    "Context",
    "DefinitionError",
    "File",
    "ModelRetry",
    "ModelSettings",
    "RoostError",
    "Tool",
    "ToolFailed",
    "tool",
]
