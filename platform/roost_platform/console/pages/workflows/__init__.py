"""The pages of workflows: approvals, agents and tools, schedules, flows."""
