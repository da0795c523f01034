"""What the calls that the fakes recorded show, and what no process could have known."""

from collections.abc import Iterator, Sequence
from typing import Any

from roost_channels.message import CARD_BUTTON
from roost_channels.progress.guard import STORE_PAUSE_MAX_S
from roost_channels.testing.loopback import Call
from roost_platform.chaos.record import Final, Removed, StatusEdit, words

Span = tuple[float, float]

STOP_DATA = "stop:"
# A process that dies within this time of an answer may not have received or committed it.
HEARD_S = 1.0
UNHEARD = ("drop_after", "garbage", "cut_body")


def early(calls: Sequence[Call], deaths: Sequence[float]) -> Iterator[str]:
    """Calls that were made during a wait which the caller's lane knew of and survived.

    Telegram's waits are for a chat, Twilio's for a method of the whole account. A wait that answers
    a search for inbound messages is for the search alone.
    """
    waits: dict[str, Call] = {}
    for call in calls:
        key = str(call.parameters.get("chat_id") or call.method)
        # A wait for the whole bot is an answer to the last call.
        asker = waits.get(key) or next(reversed(waits.values()), None)
        if asker and _chat(call) and call.early and _was_told(call, asker, deaths):
            yield f"{call.method} to {_chat(call)} at {call.started_at:.3f}: {_shown(call)!r}"
        if call.status == 429:
            waits[key] = call


def _was_told(call: Call, asker: Call, deaths: Sequence[float]) -> bool:
    """Whether the maker of a call knew of the wait that answered the call `asker`."""
    if not _chat(asker) or _unheard(asker, deaths):
        return False
    if call.started_at < (asker.finished_at or asker.started_at):
        return False  # it was already under way, only slow
    # Another chat's call may have been on its way when the account was asked to wait.
    answered_at = asker.finished_at or asker.started_at
    return _chat(asker) == _chat(call) or call.started_at > answered_at + HEARD_S


def unknowable(
    calls: Sequence[Call],
    deaths: Sequence[float],
    away: Sequence[Span] = (),
    set_back_s: float = 0.0,
) -> set[tuple[str, str]]:
    """Messages sent with a button that is to go again, of Stop or of a question, whose id never
    reached a process that lived on. away: when the database was. set_back_s: by how much the clock
    of calls and deaths was set back in all; either may read earlier than it was by so much.
    """
    messages = set()
    for call in calls:
        if (
            not call.ok
            or not (list(_stops(call)) or _is_card(call))
            or call.method.lower() != "sendmessage"
        ):
            continue
        if _unheard(call, deaths, away, set_back_s):
            messages.add((_chat(call), str(call.response["result"]["message_id"])))
    return messages


def status_edits(calls: Sequence[Call]) -> Iterator[StatusEdit]:
    """Calls that showed a status with its Stop button, by the turn the button names."""
    for call in calls:
        if call.method.lower() in ("sendmessage", "editmessagetext") and call.ok:
            for turn_id in _stops(call):
                yield StatusEdit(_chat(call), turn_id, call.started_at)


def finals(answers: Sequence[Any], calls: Sequence[Call]) -> Iterator[Final]:
    """When the first part of each turn's last message reached Telegram.

    answers: (text, turn, chat) of each.
    """
    sends = [call for call in calls if call.method.lower() == "sendmessage" and call.ok]
    for text, turn_id, chat in answers:
        heads = words(text)[:1]
        for call in sends:
            if heads and words(_shown(call))[:1] == heads and _chat(call) == chat:
                yield Final(chat, turn_id, call.started_at)
                break


def removed(calls: Sequence[Call]) -> Iterator[Removed]:
    """Our messages that were deleted, with their last texts."""
    texts: dict[tuple[str, str], str] = {}
    for call in calls:
        if not call.ok:
            continue
        method, chat = call.method.lower(), _chat(call)
        message_id = str(call.parameters.get("message_id", ""))
        if method == "sendmessage":
            texts[chat, str(call.response["result"]["message_id"])] = _shown(call)
        elif method == "editmessagetext":
            texts[chat, message_id] = _shown(call)
        elif method == "deletemessage" and (chat, message_id) in texts:
            yield Removed(chat, message_id, texts[chat, message_id])


def _is_card(call: Call) -> bool:
    return any(data.startswith(CARD_BUTTON) for data in _buttons(call))


def _buttons(call: Call) -> Iterator[str]:
    markup = call.parameters.get("reply_markup")
    rows = markup.get("inline_keyboard", []) if isinstance(markup, dict) else []
    for button in (button for row in rows for button in row):
        yield str(button.get("callback_data", ""))


def _stops(call: Call) -> Iterator[str]:
    for data in _buttons(call):
        if data.startswith(STOP_DATA):
            yield data.removeprefix(STOP_DATA).partition(":")[0]


def _unheard(
    call: Call, deaths: Sequence[float], away: Sequence[Span] = (), set_back_s: float = 0.0
) -> bool:
    """Whether its answer got lost, or the process that waited for it died before it was stored."""
    begin, end = call.started_at - HEARD_S, (call.finished_at or call.started_at) + HEARD_S
    for since, until in sorted(away):
        if since <= end <= until:
            end = until + STORE_PAUSE_MAX_S + HEARD_S
    return call.fault in UNHEARD or any(
        begin - set_back_s <= death <= end + set_back_s for death in deaths
    )


def _chat(call: Call) -> str:
    """The chat of a call; empty for a search for messages to our own number."""
    parameters = call.parameters
    return str(
        parameters.get("chat_id") or (parameters.get("To") if "From" in parameters else "") or ""
    )


def _shown(call: Call) -> str:
    return str(call.parameters.get("text") or call.parameters.get("Body") or "")[:60]
