"""Flows as operators see them."""

from roost_platform.views.workflows.flows.flows import (
    STATES,
    FlowFilter,
    FlowRow,
    FlowView,
    flow_view,
    flows,
)

__all__ = ["STATES", "FlowFilter", "FlowRow", "FlowView", "flow_view", "flows"]
