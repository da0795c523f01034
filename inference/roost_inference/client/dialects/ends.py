"""Control tokens that an engine with a wrong chat template leaves at the end of an answer."""

import re
from typing import Final

# An answer is not longer for them: they stand at its very end.
_SEARCHED: Final = 200
_TOKENS: Final = (
    r"<\|(?:im_end|eot_id|eom_id|end_of_text|endoftext|end_of_turn|end|return|eos)\|>"
    "|<end_of_turn>|<eos>|<\uff5cend\u2581of\u2581sentence\uff5c>|</s>"
)
# One behind a blank is a word that the answer speaks of.
_END: Final = re.compile(rf"(?<![ \t])(?:\n{{0,4}}(?:{_TOKENS}))+\s*\Z")


def without_end_tokens(text: str) -> str:
    """The text without control tokens at its end; a closing tag whose opening one stands in the
    text, and tokens in code, are the answer's own.
    """
    tail = text[-_SEARCHED:]
    found = _END.search(tail)
    if found is None:
        return text
    kept = text[: len(text) - len(tail) + found.start()]
    is_tag = "</s>" in found[0] and "<s>" in kept
    return text if is_tag or kept.count("`") % 2 else kept
