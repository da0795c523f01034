"""Names of people, chats and files on one line, of characters that people see."""

import unicodedata

# Controls, formats (among them those that reverse a line's direction), halves of characters, line
# and paragraph separators.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Joins the parts of an emoji and shapes letters of some scripts; it can't hide anything.
_JOINERS = "\u200c\u200d"


def plain_name(name: str) -> str:
    """The name on one line of characters that people see."""
    if name.isascii() and name.isprintable():
        return " ".join(name.split())
    kept = (
        one if one in _JOINERS or unicodedata.category(one) not in _UNSEEN else _blank(one)
        for one in name
    )
    return " ".join("".join(kept).split())


def _blank(char: str) -> str:
    """A line break or a tab still parts two words; any other such character leaves nothing."""
    return " " if char.isspace() else ""
