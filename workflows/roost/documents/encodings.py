"""The text of a plain text file, in whatever encoding it was saved."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from roost.documents.problems import Unreadable

if TYPE_CHECKING:
    from charset_normalizer import CharsetMatch

SAMPLE_BYTES: Final = 64 * 1024
_BOMS: Final = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
# What terminals write between words, as in the logs that people send.
_COLOURS: Final = re.compile(rb"\x1b\[[0-9;?]{0,20}[A-Za-z]")
_ISO_2022_JP: Final = re.compile(rb"\x1b\$[@B]")
# What people's programs saved before UTF-8, the likelier first.
_OLDER: Final = (
    *("cp1252", "cp1250", "euc_jp", "gb18030", "cp1251", "cp932", "cp949", "big5", "cp1253"),
    *("cp1254", "koi8_r", "cp866", "cp1255", "cp1256", "cp850", "koi8_u", "cp874", "mac_cyrillic"),
    "iso8859_5",
)
_LANGUAGE_WEIGHT: Final = 0.2  # of looking like a language, against looking like disorder
_ORDER_WEIGHT: Final = 0.003  # short texts fit several encodings alike: there the order decides
_FOREIGN_MAX: Final = 0.5  # of a western text's letters are beyond ASCII, at most
_KANA: Final = re.compile("[\u3041-\u3096\u30a1-\u30fa]")
_BEYOND_ASCII: Final = re.compile("[^\x00-\x7f]")
_KANA_SHARE_MIN: Final = 0.1  # of a Japanese text; in no other one are there any
_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
_CONTROL_SHARE_MAX: Final = 0.01


def decoded(data: bytes) -> str:
    """The bytes of a text file as text. Raises Unreadable for what is no text.

    A byte order mark says the encoding; else UTF-8, UTF-16 by its zeros, and last the older
    encoding whose letters look most like those of a language.
    """
    data = _COLOURS.sub(b"", data)
    for encoding in _candidates(data):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        beginning = text[:SAMPLE_BYTES]
        if len(_UNPRINTABLE.findall(beginning)) <= _CONTROL_SHARE_MAX * len(beginning):
            return text
    raise Unreadable("not_text")


def _candidates(data: bytes) -> Sequence[str]:
    """The encodings that the bytes can have, likely ones first. Raises Unreadable."""
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return [encoding]
    sample = data[:SAMPLE_BYTES]
    if sample.count(0) > _CONTROL_SHARE_MAX * len(sample):
        even, odd = sample[::2].count(0), sample[1::2].count(0)
        if max(even, odd) * 4 < len(sample) or min(even, odd) * 4 > max(even, odd):
            raise Unreadable("not_text")
        return ["utf-16-be" if even > odd else "utf-16-le"]
    if _ISO_2022_JP.search(sample):
        return ["iso2022_jp"]
    if _is_utf8(data):
        return ["utf-8"]
    if len(_CONTROLS.findall(sample)) > _CONTROL_SHARE_MAX * len(sample):
        raise Unreadable("not_text")
    found = _older(sample)
    if not found:
        raise Unreadable("encoding")
    return [*found, "latin-1"]


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _older(sample: bytes) -> Sequence[str]:
    from charset_normalizer import from_bytes

    whole_lines = sample[: sample.rfind(b"\n") + 1] or sample  # no half of a character at the end
    matches = from_bytes(whole_lines, cp_isolation=list(_OLDER))
    if matches:
        return [match.encoding for match in sorted(matches, key=_oddness)]
    foreign = sum(1 for byte in sample if byte >= 0x80)
    letters = sum(1 for byte in sample if byte >= 0x80 or chr(byte).isalnum())
    return ["cp1252"] if foreign <= _FOREIGN_MAX * letters else []


def _oddness(match: "CharsetMatch") -> tuple[bool, float]:
    """How unlikely the match is; the least odd one counts."""
    text = str(match)
    kana, others = len(_KANA.findall(text)), len(_BEYOND_ASCII.findall(text))
    disorder = match.chaos - _LANGUAGE_WEIGHT * match.coherence
    is_japanese = kana > _KANA_SHARE_MIN * others
    return not is_japanese, disorder + _ORDER_WEIGHT * _OLDER.index(match.encoding)


def printable(text: str) -> str:
    """The text with plain line ends and without control characters and halves of characters."""
    return _UNPRINTABLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
