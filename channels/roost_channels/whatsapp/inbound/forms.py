"""Twilio's webhook forms read into InboundMessages.

Parameters are added without notice, so that everything is kept in `raw` and unknown values pass.
"""

from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import parse_qsl

from roost_channels.message import (
    STOP_BUTTON,
    Address,
    Attachment,
    InboundKind,
    InboundMessage,
    Quote,
    Sender,
)

MEDIA_MAX = 10
# Types whose text is in Body, and reactions, which nobody answers.
_TYPES_WITHOUT_CONTENT = ("", "text", "reaction", "button", "interactive")
_KINDS = {"image": "photo", "audio": "audio", "video": "video"}


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
        return cls(parse_qsl(text, keep_blank_values=True, max_num_fields=1000))

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


def read(form: Form, account: str, now: float, quote: Quote | None = None) -> InboundMessage:
    """Read an inbound message. The webhook names no time: `now` is when it came."""
    sender = form.get("From")
    sid = form.get("MessageSid") or form.get("SmsMessageSid") or form.get("SmsSid")
    attachments = _attachments(form)
    button = form.get("ButtonPayload")
    text = form.get("Body") or form.get("ButtonText") or form.get("ListTitle")
    kind: InboundKind = "message"
    if button.startswith(STOP_BUTTON):
        kind, text = "callback", button
    elif not (text or attachments):
        kind = "other"  # a reaction, or a kind of message that came after this was written
    return InboundMessage(
        address=Address("whatsapp", account, sender),
        event_id=sid,
        message_id=sid,
        sender=Sender(sender, form.get("ProfileName"), aliases=_aliases(form, sender)),
        text=text,
        sent_at=now,
        kind=kind,
        quote=quote,
        attachments=attachments,
        answered_in_chat=kind == "callback",
        raw=form.flat(),
    )


def _aliases(form: Form, sender: str) -> tuple[str, ...]:
    """Return further names of the same person: the phone number, and an id that stays."""
    phone = form.get("WaId")
    names = [f"whatsapp:+{phone}" if phone.isdigit() else "", form.get("ExternalUserId")]
    return tuple(dict.fromkeys(name for name in names if name and name != sender))


def _attachments(form: Form) -> tuple[Attachment, ...]:
    count = form.get("NumMedia")
    attachments = []
    for index in range(min(int(count) if count.isdecimal() else 0, MEDIA_MAX)):
        mime = form.get(f"MediaContentType{index}")
        url = form.get(f"MediaUrl{index}")
        kind = _KINDS.get(mime.partition("/")[0], "document")
        attachments.append(Attachment(kind, url.rpartition("/")[2], mime_type=mime, url=url))
    if form.get("Latitude") and form.get("Longitude"):
        words = (
            f"{form.get('Latitude')},{form.get('Longitude')}",
            form.get("Label"),
            form.get("Address"),
        )
        attachments.append(Attachment("location", "", " ".join(word for word in words if word)))
    kind = form.get("MessageType").lower()
    if not attachments and not form.get("Body") and kind not in _TYPES_WITHOUT_CONTENT:
        # A type from after this was written: the agent is told, the person is not left in silence.
        attachments.append(Attachment("".join(filter(str.isalnum, kind))[:20] or "message", ""))
    return tuple(attachments)


def fetched_quote(ref: str, message: Mapping[str, object], account: str) -> Quote:
    """Make a quote from Twilio's copy of a message that we never stored."""
    text = str(message.get("body") or "")
    return Quote(
        ref=ref,
        author="bot" if message.get("from") == account else "user",
        text=text,
        excerpt=text,
        resolved=bool(text),
    )
