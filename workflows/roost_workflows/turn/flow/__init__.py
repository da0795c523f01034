"""Flows as turns: each model step of the loop is one advance over the journal."""
