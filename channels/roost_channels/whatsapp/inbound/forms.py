"""Twilio's webhook forms read into InboundMessages.

Parameters are added without notice, so that everything is kept in `raw` and unknown values pass.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import parse_qsl

from roost_channels.message import (
    OWN_BUTTONS,
    Address,
    Attachment,
    InboundKind,
    InboundMessage,
    Quote,
    Sender,
)
from roost_channels.whatsapp.described import identifier
from roost_channels.whatsapp.inbound import form_contents
from roost_channels.whatsapp.numbers import other_forms

# The chat of events that name none.
UNREADABLE_CHAT = "unreadable"
PROBLEM_MAX = 300
NUMBER_DIGITS_MAX = 20
FIELDS_MAX = 1000


class Form:
    """A form body; repeated names keep all their values, as the signature counts them all."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    @classmethod
    def parse(cls, body: bytes) -> "Form":
        """Read a body; raises ValueError if it is not a UTF-8 form. Values stay untrimmed: they are
        signed.
        """
        text = body.decode("utf-8")
        return cls(parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX))

    def get(self, name: str, default: str = "") -> str:
        """Return the first value of a name, or the default."""
        return self._values.get(name, [default])[0]

    def getlist(self, name: str) -> list[str]:
        """Return all values of a name."""
        return self._values.get(name, [])

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def flat(self) -> dict[str, str]:
        """Return the first value of each name."""
        return {name: values[0] for name, values in self._values.items()}


def read(
    form: Form,
    account: str,
    now: float,
    quote: Quote | None = None,
    quoted_files: Sequence[Attachment] = (),
) -> InboundMessage:
    """Read an inbound message; what can't be read becomes a dead letter.

    The webhook names no time: `now` is when it came. quoted_files: what the quoted message carried,
    where we never saw it.
    """
    try:
        return _read(form, account, now, quote, quoted_files)
    except Exception as error:
        return _unreadable(form, account, now, error)


def _read(
    form: Form, account: str, now: float, quote: Quote | None, quoted_files: Sequence[Attachment]
) -> InboundMessage:
    sender = identifier(form.get("From"))
    sid = identifier(form.get("MessageSid") or form.get("SmsMessageSid") or form.get("SmsSid"))
    if not sid or not sender:
        raise ValueError("no SID" if not sid else "no sender")
    fields = form.flat()
    content = form_contents.read_content(fields)
    kind: InboundKind = "message"
    text, button = content.text, form.get("ButtonPayload") or form.get("ListId")
    if button.startswith(OWN_BUTTONS):
        kind, text = "callback", button
    elif form_contents.is_silent(fields) or not (text or content.attachments):
        kind = "other"
    return InboundMessage(
        address=Address("whatsapp", account, sender),
        event_id=sid,
        message_id=sid,
        sender=Sender(sender, form.get("ProfileName"), aliases=_aliases(form, sender)),
        text=text,
        sent_at=now,
        kind=kind,
        quote=quote,
        attachments=(*content.attachments, *quoted_files),
        forwarded_from=form_contents.forwarded_from(fields),
        payload=content.payload,
        answered_in_chat=kind == "callback",
        raw=fields,
    )


def _unreadable(form: Form, account: str, now: float, error: Exception) -> InboundMessage:
    """Make a dead letter: the form as it came, and why it could not be read."""
    raw = form.flat()
    whole = repr(sorted(raw.items())).encode("utf-8", "replace")
    sid = identifier(raw.get("MessageSid", ""))
    return InboundMessage(
        address=Address("whatsapp", account, UNREADABLE_CHAT),
        event_id=sid or f"unreadable:{hashlib.sha256(whole).hexdigest()[:32]}",
        message_id="",
        sender=Sender(""),
        text="",
        sent_at=now,
        kind="other",
        problem=f"{type(error).__name__}: {error}"[:PROBLEM_MAX],
        raw=raw,
    )


def _aliases(form: Form, sender: str) -> tuple[str, ...]:
    """Return further names of the same person: the phone number in all its forms, and an id that
    stays.
    """
    phone = form.get("WaId").removeprefix("+")
    is_phone = phone.isascii() and phone.isdigit() and len(phone) <= NUMBER_DIGITS_MAX
    names = [f"whatsapp:+{phone}" if is_phone else "", identifier(form.get("ExternalUserId"))]
    forms = [form for name in (sender, *names) for form in other_forms(name)]
    return tuple(dict.fromkeys(name for name in (*names, *forms) if name and name != sender))


def fetched_quote(ref: str, message: Mapping[str, object], account: str, has_files: bool) -> Quote:
    """Make a quote from Twilio's copy of a message that we never stored.

    has_files: what it carried comes along with the message that quotes it.
    """
    text = str(message.get("body") or "") or ("[a file, which comes along]" if has_files else "")
    return Quote(
        ref=ref,
        author="bot" if message.get("from") == account else "user",
        text=text,
        excerpt=text,
        resolved=bool(text),
    )
