"""Flows: functions whose every step is kept in a journal, so that they survive what stops them."""
