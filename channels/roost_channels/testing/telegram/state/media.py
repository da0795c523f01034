"""Files on Telegram's servers: kinds, size limits, and the objects in messages."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from roost_channels.testing.telegram.state.records import File
from roost_channels.testing.telegram.state.world import World

DOWNLOAD_BYTES_MAX = 20 << 20
PHOTO_BYTES_MAX = 10 << 20
UPLOAD_BYTES_MAX = 50 << 20
LINK_LIFETIME_S = 3600.0
PHOTO_EDGES = (90, 320, 800)
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class MediaKind:
    """One kind of media.

    folder: where its files are stored. bytes_max: the largest upload.
    album: the group of kinds that may share an album, empty for none.
    content_type, suffix: the defaults of its files.
    """

    folder: str
    bytes_max: int = UPLOAD_BYTES_MAX
    album: str = ""
    content_type: str = "application/octet-stream"
    suffix: str = ""


KINDS = {
    "photo": MediaKind("photos", PHOTO_BYTES_MAX, "visual", "image/jpeg", ".jpg"),
    "video": MediaKind("videos", album="visual", content_type="video/mp4", suffix=".mp4"),
    "document": MediaKind("documents", album="document"),
    "audio": MediaKind("music", album="audio", content_type="audio/mpeg", suffix=".mp3"),
    "voice": MediaKind("voice", content_type="audio/ogg", suffix=".oga"),
    "animation": MediaKind("animations", content_type="video/mp4", suffix=".mp4"),
    "video_note": MediaKind("video_notes", content_type="video/mp4", suffix=".mp4"),
}


def store(
    world: World,
    kind: str,
    data: bytes,
    name: str = "",
    content_type: str = "",
    size: int | None = None,
) -> File:
    """Keep a file under a new id; `size` may claim more bytes than `data` has."""
    number = next(n for n in _numbers if n > world.last_file_number)
    media_kind = KINDS[kind]
    file = File(
        f"{kind.upper().replace('_', '')}{number:08d}",
        f"U{number:08d}",
        name or f"file_{number}{media_kind.suffix}",
        content_type or media_kind.content_type,
        data,
        len(data) if size is None else size,
        folder=media_kind.folder,
    )
    world.files[file.file_id] = file
    return file


def _ids(file: File) -> dict[str, Any]:
    return {
        "file_id": file.file_id,
        "file_unique_id": file.unique_id,
        "file_size": file.size,
    }


def _photo(world: World, file: File, about: dict[str, int]) -> Any:
    """Three sizes, the full one last; each is a file with its own id."""
    sizes = []
    for edge in PHOTO_EDGES[:-1]:
        small = File(
            f"{file.file_id}x{edge}",
            f"{file.unique_id}x{edge}",
            file.name,
            file.content_type,
            file.data,
            min(file.size, edge * edge),
            folder=file.folder,
        )
        world.files[small.file_id] = small
        sizes.append({**_ids(small), "width": edge, "height": edge})
    return [*sizes, {**_ids(file), "width": PHOTO_EDGES[-1], "height": PHOTO_EDGES[-1]}]


def _timed(world: World, file: File, about: dict[str, int]) -> Any:
    return {**_ids(file), "duration": about.get("duration", 0), "mime_type": file.content_type}


def _named(world: World, file: File, about: dict[str, int]) -> Any:
    return {**_ids(file), "file_name": file.name, "mime_type": file.content_type}


def _audio(world: World, file: File, about: dict[str, int]) -> Any:
    return {**_timed(world, file, about), "file_name": file.name}


def _video(world: World, file: File, about: dict[str, int]) -> Any:
    edges = {"width": about.get("width") or 640, "height": about.get("height") or 360}
    return {**_audio(world, file, about), **edges}


def _video_note(world: World, file: File, about: dict[str, int]) -> Any:
    return {**_ids(file), "duration": about.get("duration", 0), "length": 240}


_SHAPES: dict[str, Callable[[World, File, dict[str, int]], Any]] = {
    "photo": _photo,
    "video": _video,
    "document": _named,
    "audio": _audio,
    "voice": _timed,
    "animation": _video,
    "video_note": _video_note,
}


def media_fields(
    world: World, kind: str, file: File, about: dict[str, int] | None = None
) -> dict[str, Any]:
    """The fields of a Message that carry the file. about: duration, width, height."""
    shaped = {kind: _SHAPES[kind](world, file, about or {})}
    if kind == "animation":
        # The API also sends a document, for clients without animations.
        shaped["document"] = _named(world, file, {})
    return shaped
