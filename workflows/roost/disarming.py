"""Texts of people, tools and files without what only Roost or a model's template may write.

Models read a prompt as one text, in which words in brackets of certain shapes mean a role, a call
or a result. An invisible character behind the first bracket makes them words again: tokenizers
don't take them for control tokens, and readers see no difference.
"""

import re
from typing import Final

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
# Control characters, marks of direction, and separators of lines.
_UNSHOWN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
    "|[\ud800-\udfff\U000e0000-\U000e007f]"
)


def disarmed(text: str) -> str:
    """The text with every frame, control token and marker in it turned into words."""
    return _FORGED.sub(lambda found: f"{found.group()}{INVISIBLE}", text)


def plain_name(name: str) -> str:
    """A name of a person or file as one line without characters that hide or reorder others."""
    words = " ".join(_UNSHOWN.sub(" ", name[: 4 * NAME_CHARS_MAX]).split())
    return disarmed(words[:NAME_CHARS_MAX])
