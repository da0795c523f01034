"""Texts as an eye reads them: letters and brackets that look like ASCII are ASCII, and what nobody
sees is away.

Only to find something in a text. Unicode's compatibility forms are followed, and a short list of
what looks the same: https://www.unicode.org/reports/tr39/
"""
# ruff: noqa: RUF001

import unicodedata
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

# What looks alike, as it is written and as it is read, one for one.
_ALIKE: Final = (
    (
        "аеіјорсухѕһԁԛԝӏүвкмнтьпгдѵЅІЈАВЕЅКМНОРСТУХԌԚԜ",
        "aeijopcyxshdqwlybkmhtbnrdvSIJABESKMHOPCTYXGQW",
    ),
    ("αβγεηικνορστυχωϲϳϱΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹ", "abyenikvopotuxwcjpABEZHIKMNOPTYXC"),
    ("օսոհցզպկյքԱՕՍ", "ounhgquljpUOU"),
    ("ıɑɡɩȷøđħłŧƅƽɪʏɴʀʟʜɢʙᴀᴄᴅᴇᴊᴋᴍᴏᴘᴛᴜᴠᴡᴢꜰꜱꓮꓳꓲꓢꓔ", "iagijodhltbsiynrlhgbacdejkmoptuvwzfsAOIST"),
    ("‹\u2329〈⟨❮❬ᐸ˂⧼⟪《", "<<<<<<<<<<<"),
    ("›\u232a〉⟩❯❭ᐳ˃⧽⟫》", ">>>>>>>>>>>"),
    ("【〔〖⟦❲⦗⁅", "[[[[[[["),
    ("】〕〗⟧❳⦘⁆", "]]]]]]]"),
    ("∣❘ǀ│┃︱⏐丨", "||||||||"),
    ("⁄∕⧸╱⟋", "/////"),
    ("ˍ⎽＿﹍", "____"),
    ("∶ː˸׃։፡", "::::::"),
)
# Where Unicode has letters, digits and marks in another dress: wide, bold, in circles, accented.
_DRESSED: Final = (
    *((0xA0, 0x24F), (0x1D2C, 0x1DBF), (0x1E00, 0x1EFF), (0x2070, 0x209C), (0x2100, 0x218B)),
    *((0x2460, 0x24FF), (0x2C7C, 0x2C7D), (0xFB00, 0xFB06), (0xFE10, 0xFE6B), (0xFF01, 0xFF5E)),
    *((0x1D400, 0x1D7FF), (0x1F110, 0x1F14F)),
)
# Joiners, marks of direction, fillers, accents, selectors and tags.
_UNSEEN: Final = (
    *((0xAD, 0xAD), (0x300, 0x36F), (0x483, 0x489), (0x61C, 0x61C), (0x115F, 0x1160)),
    *((0x17B4, 0x17B5), (0x180B, 0x180F), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x200B, 0x200F)),
    *((0x202A, 0x202E), (0x2060, 0x206F), (0x20D0, 0x20FF), (0x3164, 0x3164), (0xFE00, 0xFE0F)),
    *((0xFE20, 0xFE2F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF9, 0xFFFB), (0xE0000, 0xE01EF)),
)


def read_as(text: str) -> str:
    """The text as it is read. Its positions are not those of the text; `origins` has these."""
    return text if text.isascii() else text.translate(_READ_AS)


def origins(text: str) -> Sequence[int]:
    """For each character of `read_as(text)` the position in the text that it comes from."""
    return [at for at, one in enumerate(text) for _ in _READ_AS.get(ord(one), one)]


def written_as(readings: str) -> str:
    """All characters that are read as one of these, or as more with one of these in it."""
    wanted = set(readings)
    alike = (chr(code) for code, read in _READ_AS.items() if wanted.intersection(read))
    return readings + "".join(alike)


def _codes(ranges: Sequence[tuple[int, int]]) -> Iterator[int]:
    return chain.from_iterable(range(first, last + 1) for first, last in ranges)


def _undressed(code: int) -> str:
    """The plain form of a character; empty if it has none in ASCII."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", chr(code)) if ord(c) not in _HIDDEN)
    return plain if plain.isascii() else ""


_HIDDEN: Final = frozenset(_codes(_UNSEEN))
_READ_AS: Final = {
    **{code: plain for code in _codes(_DRESSED) if (plain := _undressed(code))},
    **dict.fromkeys(_HIDDEN, ""),
    **{
        ord(written): read
        for written_all, read_all in _ALIKE
        for written, read in zip(written_all, read_all, strict=True)
    },
}
