"""What a document says, piece by piece. Runs in a process of its own: see child.py."""

import io
import logging
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

Problem = Literal[
    "",
    "encrypted",
    "no_text",
    "broken",
    "not_text",
    "old_word",
    "too_large",
    "too_slow",
    "encoding",
]

PAGES_MAX: Final = 300
# Of a Word file's parts once they are unpacked: a few kilobytes can become gigabytes.
UNPACKED_BYTES_MAX: Final = 64 * 1024 * 1024
ZIP_ENTRIES_MAX: Final = 5000
PIECE_CHARS: Final = 64 * 1024
SAMPLE_BYTES: Final = 64 * 1024
WORD_BODY: Final = "word/document.xml"
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # old Office files, and encrypted new ones
_ENCRYPTED_PACKAGE: Final = "EncryptedPackage".encode("utf-16-le")
_BOMS: Final = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
# What terminals write between words, as in the logs that people send.
_COLOURS: Final = re.compile(rb"\x1b\[[0-9;?]{0,20}[A-Za-z]")
# Alphabets whose older encodings have one byte a letter: a text has mostly small ones.
_ALPHABETS: Final = (
    ("cp1251", re.compile("[\u0430-\u044f\u0451\u0454\u0456\u0457\u0491]")),
    ("koi8-r", re.compile("[\u0430-\u044f\u0451\u0454\u0456\u0457\u0491]")),
    ("cp1253", re.compile("[\u03ac-\u03af\u03b1-\u03ce]")),
)
# In western languages few letters are beyond ASCII, and few of those stand side by side.
_FOREIGN_MAX: Final = 0.4
_ROWS: Final = re.compile(rb"[\x80-\xff]{2,}")
_IN_ROWS_MAX: Final = 0.5
_SMALL_SHARE: Final = 0.75
_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
_CONTROL_SHARE_MAX: Final = 0.01


class Unreadable(Exception):
    """The document has no text that we can read; `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of a document. pages: how many the whole has, 0 where it has none."""

    text: str
    pages: int = 0
    is_cut: bool = False


def pieces(data: bytes) -> Iterator[Piece]:
    """The document's text in order; what it is follows from its bytes alone. Raises Unreadable."""
    if b"%PDF-" in data[:1024]:
        return _pdf(data)
    if data.startswith(b"PK\x03\x04"):
        return _word(data)
    if data.startswith(_OLE):
        raise Unreadable("encrypted" if _ENCRYPTED_PACKAGE in data else "old_word")
    return _text(data)


def _pdf(data: bytes) -> Iterator[Piece]:
    from pypdf import PdfReader

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    reader = PdfReader(io.BytesIO(data), strict=False)
    if reader.is_encrypted and not reader.decrypt(""):
        raise Unreadable("encrypted")
    count = len(reader.pages)
    has_text, failures = False, 0
    for number, page in enumerate(reader.pages):
        if number == PAGES_MAX:
            yield Piece("", count, is_cut=True)
            break
        try:
            text = printable(page.extract_text() or "").strip()
        except (MemoryError, RecursionError):
            raise
        except Exception:  # one page that can't be read leaves the others
            failures += 1
            continue
        if text:
            yield Piece(("\n\n" if has_text else "") + text, count)
            has_text = True
    if not has_text:
        raise Unreadable("broken" if failures else "no_text")


def _word(data: bytes) -> Iterator[Piece]:
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile:
        raise Unreadable("broken") from None
    entries = archive.infolist()
    if WORD_BODY not in {entry.filename for entry in entries}:
        raise Unreadable("not_text")
    if any(entry.flag_bits & 1 for entry in entries):
        raise Unreadable("encrypted")
    unpacked = sum(entry.file_size for entry in entries)
    if len(entries) > ZIP_ENTRIES_MAX or unpacked > UNPACKED_BYTES_MAX:
        raise Unreadable("too_large")
    from roost.documents.word import word_text

    text = printable(word_text(data)).strip()
    if not text:
        raise Unreadable("no_text")
    yield from _cut(text)


def _text(data: bytes) -> Iterator[Piece]:
    text = printable(decoded(data))
    if not text.strip():
        raise Unreadable("no_text")
    yield from _cut(text)


def _cut(text: str) -> Iterator[Piece]:
    for start in range(0, len(text), PIECE_CHARS):
        yield Piece(text[start : start + PIECE_CHARS])


def decoded(data: bytes) -> str:
    """The bytes of a text file as text. Raises Unreadable for what is no text.

    A byte order mark says the encoding; else UTF-8, UTF-16 by its zeros, an older encoding of a
    language with its own letters, and last Windows-1252, which can decode nearly everything.
    """
    data = _COLOURS.sub(b"", data)
    encodings = [encoding for mark, encoding in _BOMS if data.startswith(mark)][:1]
    sample = data[:SAMPLE_BYTES]
    if not encodings and sample.count(0) > _CONTROL_SHARE_MAX * len(sample):
        even, odd = sample[::2].count(0), sample[1::2].count(0)
        if max(even, odd) * 4 < len(sample) or min(even, odd) * 4 > max(even, odd):
            raise Unreadable("not_text")
        encodings = ["utf-16-be" if even > odd else "utf-16-le"]
    if not encodings:
        encodings = ["utf-8"] if _is_utf8(data) else [_older(sample), "latin-1"]
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        beginning = text[:SAMPLE_BYTES]
        if len(_UNPRINTABLE.findall(beginning)) <= _CONTROL_SHARE_MAX * len(beginning):
            return text
    raise Unreadable("not_text")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _older(sample: bytes) -> str:
    """The encoding of a text that is not UTF-8. Raises Unreadable where only its writer knows."""
    if len(_CONTROLS.findall(sample)) > _CONTROL_SHARE_MAX * len(sample):
        raise Unreadable("not_text")
    foreign = bytes(byte for byte in sample if byte >= 0x80)
    words = sum(1 for byte in sample if byte >= 0x80 or chr(byte).isalnum())
    in_rows = sum(map(len, _ROWS.findall(sample)))
    if len(foreign) <= _FOREIGN_MAX * words or in_rows <= _IN_ROWS_MAX * len(foreign):
        return "cp1252"
    shares = [
        (len(letters.findall(foreign.decode(name, "replace"))) / len(foreign), name)
        for name, letters in _ALPHABETS
    ]
    share, name = max(shares)
    if share < _SMALL_SHARE:
        raise Unreadable("encoding")
    return name


def printable(text: str) -> str:
    """The text with plain line ends and without control characters and halves of characters."""
    return _UNPRINTABLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
