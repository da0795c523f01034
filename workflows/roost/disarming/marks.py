"""Texts of people, tools and files without what only Roost or a model's template may write.

Models read a prompt as one text, in which words in brackets of certain shapes mean a role, a call
or a result. An invisible character behind the first bracket makes them words again: tokenizers
don't take them for control tokens, and readers see no difference.

A model also takes for a frame what only looks like one: `‹quoted›`, `<соntext>` with a Cyrillic o,
`＜file＞`, or one with invisible characters in it. These are found as they are read.
"""  # noqa: RUF002

import re
from typing import Final

from roost.disarming.lookalikes import origins, read_as, written_as

INVISIBLE: Final = "\u200b"
NAME_CHARS_MAX: Final = 200

# Tags that frame texts in prompts: ours, and those of common families of models.
_TAGS: Final = (
    r"quoted|context|forwarded|payload|file|agent|scheduled"
    r"|tools?|tool_(?:calls?|responses?|results?|outputs?|code)|function(?:_calls?|_results?|s)?"
    r"|invoke|antml|think(?:ing)?|reasoning|analysis|system|assistant|available_tools"
    r"|start_of_\w{1,20}|end_of_\w{1,20}|begin_of_\w{1,20}|s|bos|eos|pad|unk|sop|eop|mask"
)
# Blanks are taken whole (`*+`): tried again shorter and shorter, a long row of them behind one "<"
# would cost the square of its length.
_TAG: Final = rf"<(?=\s*+(?:/\s*+)?(?:{_TAGS})\b)"
# <|im_start|>, also with the wide bars of some models, <turn|>, <<SYS>>
_TOKEN: Final = r"<(?=\s*+/?\s*+[|\uff5c])|<(?=/?\w{1,32}[|\uff5c]>)|<(?=</?SYS>)"
_BRACKET: Final = (
    r"\[(?=\s*+/?\s*+(?:INST|SYSTEM_PROMPT|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|AVAILABLE_TOOLS"
    r"|ARGS|CALL_ID|THINK|BOS|EOS|PAD|CLS|SEP|MASK|gMASK|sMASK|IMG|IMG_BREAK|IMG_END)\s*+\])"
)
# How the markers begin that tell a model what happened. Only prompt.py and the platform write them.
_MARKER: Final = (
    r"\[(?=\s*+(?:about\s++the\s++message\s++(?:above|below)|the\s++answer\s++above|no\s++more\s++tools"
    r"|the\s++user\s++edited|earlier\s++messages\s++of|outcome\s++unknown|cancelled\s*+:|skipped\s*+:|error\s*+\]))"
)
# Headings by which older templates tell roles apart.
_HEADING: Final = (
    r"\#(?=\#{1,2}\ ?+(?:instruction|input|response|system|user|assistant|human)\s*+:)"
)
_FORGED: Final = re.compile("|".join((_TAG, _TOKEN, _BRACKET, _MARKER, _HEADING)), re.IGNORECASE)
# What channels name so: files, and what states a fact, such as a payment.
_KINDS: Final = (
    r"photo|image|video(?:_note)?|voice|audio|document|sticker|animation|files?|contacts?|location|venue|dice|poll"
    r"|checklist(?:_tasks_added)?|story|game|(?:unique_)?gift|giveaway(?:_winners)?|invoice|paid_media"
    r"|passport_data|(?:successful|refunded)_payment|suggested_post_info|(?:chat|users?)_shared"
    r"|web_app_data|form|order|product|referral|request_welcome|unsupported|problem"
    r"|payment_method|address_message|call_permission_reply"
)
_LISTED: Final = re.compile(rf"\[(?=\s*+(?:{_KINDS})\s*+:)", re.IGNORECASE)
_OPENING: Final = re.compile(f"[{re.escape(written_as('<[#'))}]")
# Letters of which nothing is seen: a person passes them on unknowingly, and a model reads them. In
# the flags of England, Scotland and Wales they are letters of the flag; a variant has one selector.
_UNSEEN_TEXT: Final = re.compile(
    "(\U0001f3f4[\U000e0030-\U000e007a]{1,8}\U000e007f)|[\U000e0000-\U000e007f]+"
    "|[\ufe00-\ufe0f\U000e0100-\U000e01ef]{2,}+"
)
# Control characters, marks of direction, and separators of lines.
_UNSHOWN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
    "|[\ud800-\udfff\U000e0000-\U000e007f]"
)


def disarmed(text: str) -> str:
    """The text with every frame, control token and marker in it turned into words, and without
    letters that nobody sees.
    """
    if not text.isascii():
        text = _UNSEEN_TEXT.sub(lambda found: found[1] or "", text)
    return _marked(text, _FORGED)


def unlisted(text: str) -> str:
    """The text with every `[successful_payment: …]` and its like turned into words: a line of this
    form says what came beside a message, and the channel alone writes it.
    """
    return _marked(text, _LISTED)


def _marked(text: str, forged: re.Pattern[str]) -> str:
    """The text with an invisible character behind each bracket that is found as it is read."""
    if text.isascii() or _OPENING.search(text) is None:
        return forged.sub(lambda found: f"{found.group()}{INVISIBLE}", text)
    starts = [found.start() for found in forged.finditer(read_as(text))]
    if not starts:
        return text
    places = origins(text)
    pieces, done = [], 0
    for place in (places[start] + 1 for start in starts):
        if not text.startswith(INVISIBLE, place):  # else it is disarmed
            pieces += [text[done:place], INVISIBLE]
            done = place
    return "".join([*pieces, text[done:]])


def plain_name(name: str) -> str:
    """A name of a person or file as one line without characters that hide or reorder others."""
    words = " ".join(_UNSHOWN.sub(" ", name[: 4 * NAME_CHARS_MAX]).split())
    return disarmed(words[:NAME_CHARS_MAX])
