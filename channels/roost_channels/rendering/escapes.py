"""Backslashes: an escape before a mark that would act, elsewhere a character as any other."""

from typing import Final

from markdown_it.rules_inline import StateInline

from roost_channels.rendering.styles import CLUSTER_MAX, line_of
from roost_channels.rendering.words import ends_word, starts_word

BLOCK_INDENT_MAX: Final = 4  # blanks before what begins a block
NUMBER_MAX: Final = 9  # digits of an item's number
_PUNCTUATION: Final = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


def escape(state: StateInline, silent: bool) -> bool:
    """Read a backslash and what follows it: a rule of the parser."""
    place, text = state.pos, state.src
    if text[place] != "\\" or place + 1 >= state.posMax:
        return False
    escaped = text[place + 1]
    if escaped not in _PUNCTUATION:
        return False
    if not silent:
        acts = _would_act(state, place + 1, escaped)
        token = state.push("text_special", "", 0)
        token.content = escaped if acts else f"\\{escaped}"
        token.markup, token.info = f"\\{escaped}", "escape"
    state.pos = place + 2
    return True


def _would_act(state: StateInline, place: int, escaped: str) -> bool:
    """Whether the character would be read as markup without the backslash before it."""
    text, most, line = state.src, state.posMax, line_of(state)
    match escaped:
        case "*" | "_":
            low, high = place - 1, place + 1
            while low and text[low - 1] in "*_~\\" and place - low <= CLUSTER_MAX:
                low -= 1
            while high < most and text[high] in "*_~\\" and high - place <= CLUSTER_MAX:
                high += 1
            opens = starts_word(text, low) and high < most and not text[high].isspace()
            closes = ends_word(text, high, most) and low > 0 and not text[low - 1].isspace()
            is_item = escaped == "*" and _starts_block(text, place, escaped)
            has_opener = closes and line.first(escaped) < place
            return is_item or has_opener or (opens and line.last(escaped) > place)
        case "~":
            return "~" in (text[place + 1 : place + 2], text[place - 2 : place - 1]) or (
                text[place + 1 : place + 3] == "\\~"
            )
        case "`":
            return line.last("`") > place or line.first("`") < place
        case "[" | "!":
            return line.last("](") > place
        case "]":
            return text[place + 1 : place + 2] == "("
        case "#" | "-" | "+" | ">" | "." | ")":
            return _starts_block(text, place, escaped)
    return False


def _starts_block(text: str, place: int, escaped: str) -> bool:
    """Whether the character would make a heading, an item or a quote of its line."""
    after = text[place + 1 : place + 2]
    low = place - 1
    while low and text[low - 1] == " " and place - low < BLOCK_INDENT_MAX:
        low -= 1
    if escaped in ".)":
        digits = low
        while digits and text[digits - 1].isdigit() and low - digits < NUMBER_MAX:
            digits -= 1
        if digits == low:
            return False
        low = digits
    is_first = not low or text[low - 1] == "\n"
    return is_first and (escaped in "#>" or not after or after.isspace())
