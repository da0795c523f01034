"""Identifiers on the wire: sortable by time, with OpenAI's prefixes."""

from uuid_utils import uuid7


def completion_id() -> str:
    """The id of a new answer."""
    return f"chatcmpl-{uuid7().hex}"


def call_id() -> str:
    """The id of a new tool call."""
    return f"call_{uuid7().hex}"
