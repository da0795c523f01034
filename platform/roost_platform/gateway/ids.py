"""Ids of calls."""

from uuid_utils import uuid7


def new_call_id() -> str:
    """A UUIDv7: ids sort by the time they were made."""
    return str(uuid7())
