"""Scheduling: who is admitted, who is computed in the next step, and what a step costs."""
