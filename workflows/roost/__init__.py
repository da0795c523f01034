"""Write agents and flows: `from roost import Agent, Context, FlowContext, flow, tool`."""

from roost.agent import Agent, ModelSettings
from roost.context import Context
from roost.errors import DefinitionError, ModelRetry, RoostError, Stopped, ToolFailed
from roost.files import File
from roost.flow import Flow, flow
from roost.flows.context import FlowContext
from roost.tools import Tool, tool

__all__ = [
    "Agent",
    "Context",
    "DefinitionError",
    "File",
    "Flow",
    "FlowContext",
    "ModelRetry",
    "ModelSettings",
    "RoostError",
    "Stopped",
    "Tool",
    "ToolFailed",
    "flow",
    "tool",
]
