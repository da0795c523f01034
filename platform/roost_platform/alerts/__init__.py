"""Alerts: what is wrong now, remembered, told once, and told again when it is over."""
