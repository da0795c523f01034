"""An e-mail that was saved as a file: its head, its words, and the names of what is attached."""

import re
from collections.abc import Iterator
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Final

from roost.documents.encodings import decoded

HEAD_BYTES_MAX: Final = 64 * 1024
_SHOWN: Final = ("From", "To", "Cc", "Date", "Subject")
_LINE: Final = re.compile(rb"([A-Za-z][A-Za-z0-9-]{1,60}):|[ \t]")
_NEEDED: Final = frozenset({b"from", b"date"})
_SIGNS: Final = frozenset({b"mime-version", b"message-id", b"received", b"content-type"})


def is_mail(data: bytes) -> bool:
    """Whether the file begins with the head of an e-mail; other texts have no such lines."""
    names = set()
    for line in data[:HEAD_BYTES_MAX].lstrip().splitlines():
        if not line.strip():
            break
        match = _LINE.match(line)
        if match is None:
            return False
        names.add((match[1] or b"").lower())
    return names >= _NEEDED and not names.isdisjoint(_SIGNS)


def mail_text(data: bytes) -> str:
    """The e-mail in words; its plain form where it has one. Raises anything on a broken one."""
    mail = BytesParser(EmailMessage, policy=policy.default).parsebytes(data.lstrip())
    head = "\n".join(f"{name}: {mail[name]}" for name in _SHOWN if mail[name])
    body = mail.get_body(("plain", "html"))
    words = _words(body).strip() if isinstance(body, EmailMessage) else ""
    return "\n\n".join(filter(None, (head, words, "\n".join(_attached(mail)))))


def _words(part: EmailMessage) -> str:
    try:
        return str(part.get_content())
    except LookupError:  # an encoding that nobody knows
        payload = part.get_payload(decode=True)
        return decoded(payload if isinstance(payload, bytes) else b"")


def _attached(mail: EmailMessage) -> Iterator[str]:
    for part in mail.iter_attachments():
        name = part.get_filename() or part.get_content_type()
        yield f"[attached: {' '.join(name.split())}]"
