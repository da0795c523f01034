"""What a form of Twilio's says: words, files, choices, answers, and what has no name yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from roost_channels.message import Attachment
from roost_channels.whatsapp.described import (
    SILENT,
    choice_words,
    described,
    from_json,
    kind_name,
    plain,
)

MEDIA_MAX = 10
FORM_WORDS_MAX, FORM_VALUE_MAX = 3000, 1000
_KINDS = {"image": "photo", "audio": "audio", "video": "video"}
_VCARD_TYPES = frozenset({"text/vcard", "text/x-vcard", "text/directory"})
# Where the answers of a form come, as JSON.
_FORM_FIELDS = ("InteractiveData", "FlowData")
_HIDDEN_FIELDS = frozenset({"flow_token"})
_FORM_LABELS = frozenset({"Sent", ""})
# Parameters of every message, and those that have a reader here; others are the content of a kind
# that came later.
_KNOWN = frozenset(
    {
        "AccountSid",
        "Address",
        "ApiVersion",
        "Body",
        "ButtonPayload",
        "ButtonText",
        "ChannelInstallSid",
        "ChannelMetadata",
        "ChannelPrefix",
        "ChannelToAddress",
        "ErrorCode",
        "ErrorUrl",
        "EventType",
        "ExternalUserId",
        "FlowData",
        "Forwarded",
        "FrequentlyForwarded",
        "From",
        "FromCity",
        "FromCountry",
        "FromState",
        "FromZip",
        "InteractiveData",
        "Label",
        "Latitude",
        "ListDescription",
        "ListId",
        "ListTitle",
        "Longitude",
        "MessageSid",
        "MessageStatus",
        "MessageType",
        "MessagingServiceSid",
        "NumMedia",
        "NumSegments",
        "OptOutType",
        "OriginalRepliedMessageSender",
        "OriginalRepliedMessageSid",
        "ProfileName",
        "ReferralNumMedia",
        "SmsMessageSid",
        "SmsSid",
        "SmsStatus",
        "To",
        "ToCity",
        "ToCountry",
        "ToState",
        "ToZip",
        "WaId",
    }
)
_REFERRAL = ("Headline", "Body", "SourceType", "SourceUrl", "SourceId", "MediaUrl", "CtwaClid")


@dataclass(frozen=True, slots=True)
class Content:
    """What a form says: the person's words, what is attached, and what came along."""

    text: str
    attachments: tuple[Attachment, ...]
    payload: str


def read_content(form: Mapping[str, str]) -> Content:
    """Read the content, whatever its MessageType; one that says nothing else is named."""
    answers, hidden = _answers(form)
    chosen, data, more = _choice(form)
    text = form.get("Body", "")
    if answers and text in _FORM_LABELS:
        text = ""
    text = text or chosen
    attachments = (*_files(form), *_place(form), *answers)
    if not (text or attachments):
        attachments = _unknown(form)
    pressed = f"button: {data}" if data and data != text else ""
    payload = "\n".join(filter(None, (pressed, more, hidden, _advertisement(form))))
    return Content(text, attachments, payload)


def is_silent(form: Mapping[str, str]) -> bool:
    """Whether it is an event about a message, such as a reaction, and no message."""
    return form.get("MessageType", "").lower() in SILENT


def forwarded_from(form: Mapping[str, str]) -> str:
    """Whose words these are; WhatsApp never names the writer."""
    if form.get("FrequentlyForwarded", "").lower() == "true":
        return "somebody (forwarded many times)"
    return "somebody" if form.get("Forwarded", "").lower() == "true" else ""


def files_of(media: Sequence[tuple[str, str]]) -> tuple[Attachment, ...]:
    """Attachments of (URL, MIME type) pairs, MEDIA_MAX at most."""
    return tuple(_file(url, mime) for url, mime in media[:MEDIA_MAX])


def _files(form: Mapping[str, str]) -> tuple[Attachment, ...]:
    count = form.get("NumMedia", "")
    known = int(count) if count.isdecimal() and len(count) <= 3 else 0
    pairs = [
        (form.get(f"MediaUrl{index}", ""), form.get(f"MediaContentType{index}", ""))
        for index in range(MEDIA_MAX)
    ]
    # Counted by the files themselves where the count is no number.
    named = [pair for index, pair in enumerate(pairs) if pair[0] or index < known]
    more = known - MEDIA_MAX
    left = (Attachment("files", "", f"and {more} more"),) if more > 0 else ()
    return (*files_of(named), *left)


def _file(url: str, mime: str) -> Attachment:
    kind = _KINDS.get(mime.partition("/")[0], "document")
    name = "contact.vcf" if is_card(mime) else ""
    return Attachment(kind, url.rpartition("/")[2], name, mime_type=plain(mime), url=url)


def is_card(mime: str) -> bool:
    """Whether a file of this MIME type is a person's card."""
    return mime.partition(";")[0].strip().lower() in _VCARD_TYPES


def _place(form: Mapping[str, str]) -> tuple[Attachment, ...]:
    place = [form[name] for name in ("Latitude", "Longitude") if form.get(name)]
    words = (",".join(place), form.get("Label", ""), form.get("Address", ""))
    told = plain(" ".join(word for word in words if word), 500)
    return (Attachment("location", "", told),) if told else ()


def _choice(form: Mapping[str, str]) -> tuple[str, str, str]:
    """(words, data, what stood below them) of a pressed button or a chosen item."""
    item, more = choice_words(form.get("ListTitle", ""), form.get("ListDescription", ""))
    data = form.get("ButtonPayload") or form.get("ListId") or ""
    return form.get("ButtonText") or item or data, data, more


def _answers(form: Mapping[str, str]) -> tuple[tuple[Attachment, ...], str]:
    """The answers of a form by the names its maker gave the fields, and what was hidden in it."""
    shown: list[Attachment] = []
    hidden = ""
    for field in _FORM_FIELDS:
        if not form.get(field):
            continue
        answers = from_json(form[field])
        if isinstance(answers, Mapping) and isinstance(answers.get("nfm_reply"), Mapping):
            answers = answers["nfm_reply"]  # as WhatsApp itself has it
        if isinstance(answers, Mapping) and isinstance(answers.get("response_json"), str):
            inner = from_json(answers["response_json"])
            answers = inner if isinstance(inner, Mapping) else {**answers, "response_json": inner}
        if isinstance(answers, Mapping):
            secret = {name: answers[name] for name in answers if name in _HIDDEN_FIELDS}
            hidden = f"form: {described(secret)}" if secret else hidden
            answers = {name: answers[name] for name in answers if name not in _HIDDEN_FIELDS}
        words = described(answers, FORM_WORDS_MAX, FORM_VALUE_MAX)
        shown.append(Attachment("form", "", words))
    return tuple(dict.fromkeys(shown)), hidden  # both fields may say the same


def _advertisement(form: Mapping[str, str]) -> str:
    """What the advertisement said that led the person here."""
    first = {name: form[f"Referral{name}"] for name in _REFERRAL if form.get(f"Referral{name}")}
    rest = {
        name.removeprefix("Referral"): value
        for name, value in form.items()
        if name.startswith("Referral") and name != "ReferralNumMedia" and value
    }
    words = described({**first, **rest})
    return f"came by an advertisement: {words}" if words else ""


def _unknown(form: Mapping[str, str]) -> tuple[Attachment, ...]:
    """A type from after this was written: the agent is told, the person is not left in silence."""
    kind = form.get("MessageType", "").lower()
    if is_silent(form):
        return ()
    rest = {
        name: from_json(value)
        for name, value in form.items()
        if value and name not in _KNOWN and not name.startswith(("Referral", "Media"))
    }
    words = described(rest)
    return (Attachment("message" if kind == "text" else kind_name(kind), "", words),)
