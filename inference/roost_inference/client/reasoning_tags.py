"""The tags and marks that models put around their reasoning, and between it and the answer."""

import re
from dataclasses import dataclass
from typing import Final

# The longest tag that is waited for when only its beginning has come.
TAG_CHARACTERS_MAX: Final = 64
_NAMES: Final = (
    r"(?:[a-z]{1,10}:)?(?:think|thinking|thoughts?|reasoning|reflection|internal_monologue)"
)
END: Final = re.compile(rf"</{_NAMES}\s{{0,4}}>|\[/THINK\]|◁/think▷|<\|END_THINKING\|>", re.I)


@dataclass(frozen=True)
class Kind:
    """The tags around a block of reasoning."""

    opens: re.Pattern[str]
    ends: re.Pattern[str]


# Harmony's names of channels, and Gemma's of one.
HARMONY: Final = re.compile(r"<\|channel\|>\s?(?:analysis|commentary)[^<]{0,40}<\|message\|>")
KINDS: Final = (
    Kind(re.compile(rf"<{_NAMES}(?:\s[^<>]{{0,40}})?>|\[THINK\]|◁think▷", re.I), END),
    Kind(re.compile(r"<\|START_THINKING\|>"), re.compile(r"<\|END_THINKING\|>")),
    Kind(HARMONY, re.compile(r"<\|end\|>|(?=<\|channel\|>final)")),
    Kind(re.compile(r"<\|channel>thought\b"), re.compile(r"<channel\|>")),
)
# Stand between a block and the answer, or after it, and say nothing.
START: Final = "<|start|>"
MARKS: Final = re.compile(
    r"<\|start\|>(?:assistant)?|<\|channel\|>final[^<]{0,40}<\|message\|>"
    r"|<\|(?:START|END)_RESPONSE\|>|<\|(?:return|end)\|>"
)


def may_be_tag(text: str) -> bool:
    """Whether a tag may have begun that is not complete yet."""
    if len(text) >= TAG_CHARACTERS_MAX:
        return False
    if text[0] in "[◁":
        return any(tag.startswith(text.upper()) for tag in ("[THINK]", "[/THINK]", "◁THINK▷")) or (
            any(tag.startswith(text) for tag in ("◁think▷", "◁/think▷"))
        )
    if text.startswith("<|"):
        return "<|message|>" not in text and "\n" not in text and text.count("<") <= 2
    return re.fullmatch(r"<(?:/?[a-z:_]{0,30}(?:\s[^<>]{0,40})?)?", text, re.I) is not None
