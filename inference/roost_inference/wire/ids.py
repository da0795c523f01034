"""Identifiers on the wire: sortable by time, with OpenAI's prefixes."""

from uuid_utils import uuid7


def completion_id() -> str:
    """The id of a new answer."""
    return f"chatcmpl-{uuid7().hex}"


def text_completion_id() -> str:
    """The id of a new completion of plain text."""
    return f"cmpl-{uuid7().hex}"


def request_id() -> str:
    """The id of a request whose client gave it none."""
    return f"req_{uuid7().hex}"


def call_id() -> str:
    """The id of a new tool call."""
    return f"call_{uuid7().hex}"
