"""What a document says, piece by piece. Runs in a process of its own: see child.py."""

import io
import logging
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from roost.documents.encodings import decoded, printable
from roost.documents.mail import is_mail, mail_text
from roost.documents.problems import Unreadable

PAGES_MAX: Final = 300
# Of a Word file's parts once they are unpacked: a few kilobytes can become gigabytes.
UNPACKED_BYTES_MAX: Final = 64 * 1024 * 1024
ZIP_ENTRIES_MAX: Final = 5000
PIECE_CHARS: Final = 64 * 1024
# Some programs number it: word/document2.xml.
_WORD_BODY: Final = re.compile(r"word/document\d{0,9}\.xml")
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # old Office files, and encrypted new ones
_ENCRYPTED_PACKAGE: Final = "EncryptedPackage".encode("utf-16-le")


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of a document. pages: how many the whole has, 0 where it has none."""

    text: str
    pages: int = 0
    is_cut: bool = False


def pieces(data: bytes) -> Iterator[Piece]:
    """The document's text in order; what it is follows from its bytes alone. Raises Unreadable."""
    if data.startswith(b"%PDF-") or (b"%PDF-" in data[:1024] and b"startxref" in data):
        return _pdf(data)
    if data.startswith(b"PK\x03\x04"):
        return _word(data)
    if data.startswith(_OLE):
        raise Unreadable("encrypted" if _ENCRYPTED_PACKAGE in data else "old_word")
    return _text(data)


def _pdf(data: bytes) -> Iterator[Piece]:
    from pypdf import PdfReader

    from roost.documents.pdf_marks import added_to

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
            said = (page.extract_text() or "").strip()
            text = printable("\n\n".join(filter(None, (said, added_to(page, said)))))
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
    if not any(_WORD_BODY.fullmatch(entry.filename) for entry in entries):
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
    text = printable(mail_text(data) if is_mail(data) else decoded(data))
    if not text.strip():
        raise Unreadable("empty")
    yield from _cut(text)


def _cut(text: str) -> Iterator[Piece]:
    for start in range(0, len(text), PIECE_CHARS):
        yield Piece(text[start : start + PIECE_CHARS])
