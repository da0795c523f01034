"""The file of a backup: a compressed tar whose last member lists all others with their checksums.

roost-backup         the format's number, first, so that another file is refused at once
tables/NAME.jsonl    see tables.py
data/PATH            files of the data folder
manifest.json        what is in it, last
"""

import contextlib
import gzip
import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from roost_platform.errors import BackupRefused

FORMAT = 1
MARK = "roost-backup"
MANIFEST = "manifest.json"
TABLES = "tables"
DATA = "data"
COMPRESSION = 4  # most of the gain for a third of the time
CHUNK_BYTES = 1 << 20
MARK_BYTES_MAX = 64
MANIFEST_BYTES_MAX = 256 << 20
MEMBERS_MAX = 10_000_000
NAME_CHARS_MAX = 1024


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the archive: its size in bytes and its checksum in hex."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive holds.

    roost: the version that made it. database: its kind. revision: of the schema. tables: rows by
    name. sequences: the last number given by each of the database's counters. members: by name.
    """

    format: int
    roost: str
    made_at: str
    database: str
    revision: str
    tables: Mapping[str, int]
    sequences: Mapping[str, int]
    members: Mapping[str, Member] = field(default_factory=dict)


class ArchiveWriter:
    """Adds members to an open archive; `finish` makes it whole."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self.members: dict[str, Member] = {}
        self._tar = tar
        self._put(MARK, f"{FORMAT}\n".encode())

    def add(self, name: str, file: Path) -> bool:
        """Add a file as it is now; False if it is gone meanwhile."""
        try:
            source = file.open("rb")
        except FileNotFoundError:
            return False
        with source:
            size = source.seek(0, io.SEEK_END)
            source.seek(0)
            reader = _Hashing(source, size)
            self._tar.addfile(_info(name, size), reader)
        self.members[name] = Member(size, reader.sha256.hexdigest())
        return True

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest, without which no archive is accepted."""
        self._put(MANIFEST, json.dumps(asdict(manifest)).encode())

    def _put(self, name: str, content: bytes) -> None:
        self._tar.addfile(_info(name, len(content)), io.BytesIO(content))


@contextlib.contextmanager
def writing(out: IO[bytes]) -> Iterator[ArchiveWriter]:
    """Open an archive on a stream, which may be a pipe."""
    with (
        gzip.GzipFile(fileobj=out, mode="wb", compresslevel=COMPRESSION) as packed,
        tarfile.open(fileobj=packed, mode="w|") as tar,
    ):
        yield ArchiveWriter(tar)


class _Hashing(io.RawIOBase):
    """Reads exactly `size` bytes and hashes them; raises if the file became shorter."""

    def __init__(self, source: IO[bytes], size: int) -> None:
        super().__init__()
        self.sha256 = hashlib.sha256()
        self._source, self._left = source, size

    def read(self, size: int = -1, /) -> bytes:
        """Read the next bytes."""
        chunk = self._source.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(chunk)
        self.sha256.update(chunk)
        return chunk


def extract(source: IO[bytes], folder: Path) -> Manifest:
    """Unpack an archive into an empty folder, and check it; raises BackupRefused.

    Only plain files with names inside the archive's two folders are written, whatever the archive
    says of owners, modes and links.
    """
    found: dict[str, Member] = {}
    manifest: Manifest | None = None
    try:
        with (
            gzip.GzipFile(fileobj=source, mode="rb") as packed,
            tarfile.open(fileobj=packed, mode="r|") as tar,
        ):
            for position, (info, content) in enumerate(_members(tar)):
                if position == 0:
                    _check_mark(info, content)
                elif manifest is not None or position > MEMBERS_MAX:
                    raise BackupRefused("The backup goes on behind its list of contents.")
                elif info.name == MANIFEST:
                    manifest = _read_manifest(info, content)
                else:
                    _check_name(info.name, found)
                    found[info.name] = _write(content, folder / info.name)
            _read_end(packed)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise BackupRefused(f"The backup can't be read: {error}.") from error
    if manifest is None:
        raise BackupRefused("The backup is cut short: its list of contents is missing.")
    _compare(manifest, found)
    return manifest


def _read_end(packed: gzip.GzipFile) -> None:
    """Read the padding behind the last member: only then is the checksum at the end compared."""
    while chunk := packed.read(CHUNK_BYTES):
        if chunk.strip(b"\0"):
            raise BackupRefused("The backup goes on behind its list of contents.")


def _members(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    for info in tar:
        content = tar.extractfile(info) if info.isreg() else None
        if content is None or info.issparse():
            raise BackupRefused(f"The backup holds {info.name!r}, which is not a plain file.")
        yield info, content


def _check_mark(info: tarfile.TarInfo, content: IO[bytes]) -> None:
    if info.name != MARK:
        raise BackupRefused("This is not a backup that Roost made.")
    number = content.read(MARK_BYTES_MAX).decode("ascii", errors="replace").strip()
    if number != str(FORMAT):
        raise BackupRefused(
            f"The backup has the format {number}; this version of Roost reads {FORMAT}."
        )


def _check_name(name: str, found: Mapping[str, Member]) -> None:
    path = PurePosixPath(name)
    is_inside = len(path.parts) > 1 and path.parts[0] in (TABLES, DATA)
    is_plain = str(path) == name and not {".", ".."} & set(path.parts) and "\\" not in name
    if not is_inside or not is_plain or "\0" in name or len(name) > NAME_CHARS_MAX:
        raise BackupRefused(f"The backup holds the name {name[:100]!r}, which is not allowed.")
    if name in found:
        raise BackupRefused(f"The backup holds {name!r} twice.")


def _write(content: IO[bytes], file: Path) -> Member:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    sha256, size = hashlib.sha256(), 0
    with file.open("xb") as out:
        while chunk := content.read(CHUNK_BYTES):
            sha256.update(chunk)
            size += len(chunk)
            out.write(chunk)
    file.chmod(0o600)
    return Member(size, sha256.hexdigest())


def _read_manifest(info: tarfile.TarInfo, content: IO[bytes]) -> Manifest:
    try:
        if info.size > MANIFEST_BYTES_MAX:
            raise ValueError("it is too large")
        fields: dict[str, Any] = json.loads(content.read())
        members = {name: Member(**one) for name, one in fields.pop("members").items()}
        return Manifest(**fields, members=members)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BackupRefused(f"The backup's list of contents can't be read: {error}.") from error


def _compare(manifest: Manifest, found: Mapping[str, Member]) -> None:
    if missing := sorted(set(manifest.members) - set(found)):
        raise BackupRefused(f"The backup lacks {missing[0]!r}.")
    if extra := sorted(set(found) - set(manifest.members)):
        raise BackupRefused(f"The backup holds {extra[0]!r}, which its list does not name.")
    for name, member in manifest.members.items():
        if found[name] != member:
            raise BackupRefused(f"The backup's {name!r} is damaged: its checksum is wrong.")


def _info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info
