"""What reads people's texts takes time that grows with the text, and no faster."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from roost_channels.names import plain_name
from roost_channels.telegram.inbound.addressing import start_payload
from roost_channels.telegram.inbound.entities import with_addresses
from roost_channels.telegram.inbound.vcard import vcard_words
from roost_channels.telegram.inbound.words import rich_words, words_of
from roost_platform.testing.growth import grows_in_proportion

SIZE = 20_000


def links(text: str) -> tuple[str, Any]:
    link = {"type": "text_link", "length": 1, "url": "https://x.example"}
    return text, [{**link, "offset": n} for n in range(len(text))]


def quotes(text: str) -> tuple[str, Any]:
    return text, [{"type": "blockquote", "offset": 0, "length": len(text)}] * 200


def same(text: str) -> tuple[str]:
    return (text,)


CASES: dict[str, tuple[Callable[..., Any], Callable[[str], tuple[Any, ...]]]] = {
    "names": (plain_name, same),
    "links": (with_addresses, links),
    "quotes": (with_addresses, quotes),
    "vcards": (vcard_words, same),
    "old vcards": (vcard_words, lambda text: (f"NOTE;ENCODING=QUOTED-PRINTABLE:={text}",)),
    "rich": (rich_words, lambda text: ([{"type": "paragraph", "text": list(text)}],)),
    "unknown": (words_of, lambda text: ([{"text": each} for each in text],)),
    "start": (start_payload, lambda text: (f"/start {text}", "bot")),
}
PIECES = (" ", "\n", " \n", "a", "\u202e", "x:y\r\n", "\\;", "@a ", "\ud83d")


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("case", CASES)
def test_reading_takes_time_in_proportion_to_the_text(case: str, piece: str) -> None:
    read, make = CASES[case]

    assert grows_in_proportion(
        lambda size: partial(read, *make(piece * (size // len(piece)))), SIZE
    )
