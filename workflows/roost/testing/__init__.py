"""Testing agents and flows without an engine, a database or Temporal: the real loop, a scripted
model, people and agents of the test.
"""

from roost.schedules.memory import MemorySchedules
from roost.testing.agents import (
    Call,
    MemoryNote,
    MemoryNotes,
    Messages,
    RanCall,
    Run,
    ScriptedModel,
    call,
    run_agent,
)
from roost.testing.flows import FlowRun, kill_at_every_step, run_flow
from roost.testing.people import People

__all__ = [
    "Call",
    "FlowRun",
    "MemoryNote",
    "MemoryNotes",
    "MemorySchedules",
    "Messages",
    "People",
    "RanCall",
    "Run",
    "ScriptedModel",
    "call",
    "kill_at_every_step",
    "run_agent",
    "run_flow",
]
