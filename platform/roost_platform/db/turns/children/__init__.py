"""Agents that work for other agents: their tasks, budgets, results and ends."""
