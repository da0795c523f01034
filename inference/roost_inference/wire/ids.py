"""Identifiers on the wire: sortable by time, with OpenAI's prefixes."""

import re
from collections.abc import Iterable
from typing import Final

from uuid_utils import uuid7

REQUEST_ID: Final = "x-request-id"
REQUEST_ID_CHARACTERS_MAX: Final = 128
_PLAIN = re.compile(rb"[\x21-\x7e]{1,%d}" % REQUEST_ID_CHARACTERS_MAX)
_LINE = re.compile(rb"\n%b[ \t]*:[ \t]*([^\r\n]*?)[ \t]*\r?\n" % REQUEST_ID.encode(), re.IGNORECASE)


def completion_id() -> str:
    """The id of a new answer."""
    return f"chatcmpl-{uuid7().hex}"


def text_completion_id() -> str:
    """The id of a new completion of plain text."""
    return f"cmpl-{uuid7().hex}"


def request_id() -> str:
    """The id of a request whose client gave it none."""
    return f"req_{uuid7().hex}"


def sent_id(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The id that a client gave its request, None where it gave none that a header may repeat."""
    for name, value in headers:
        if name.lower() == REQUEST_ID.encode() and _PLAIN.fullmatch(value):
            return value.decode()
    return None


def id_in_head(head: bytes) -> str:
    """The id that a request's unread head gives it as far as it has come, else a new one."""
    sent = sent_id((REQUEST_ID.encode(), line[1]) for line in _LINE.finditer(head))
    return sent or request_id()


def call_id() -> str:
    """The id of a new tool call."""
    return f"call_{uuid7().hex}"
