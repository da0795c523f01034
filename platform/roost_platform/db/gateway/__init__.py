"""Rows of the gateway: keys and their budgets, calls, stored responses."""
