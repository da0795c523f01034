"""The files of a turn's messages: read once before the model is asked, and shown ever after."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from roost.documents.pictures import PICTURE_BYTES_MAX, data_url, picture_type
from roost.documents.reader import FILE_BYTES_MAX, Reading, read_document
from roost.messages import MessageFile
from roost_workflows.ports import TranscriptMessage, TurnContext
from roost_workflows.storage.tools import Artifact, Artifacts

log = logging.getLogger(__name__)

FILE_CHARS_MAX: Final = 8_000  # of one document in the prompt; the rest is read by a tool
TURN_CHARS_MAX: Final = 16_000  # of all documents that one model call meets for the first time
FILES_MAX: Final = 10  # read for one model call; a message has no more
ARRIVAL_WAIT_S: Final = 20.0  # for files that are still on their way to us, all together
ARRIVAL_LOOK_S: Final = 0.2
PICTURES_MAX: Final = 8  # in one prompt, newest kept
PICTURES_BYTES_MAX: Final = 12 * 1024 * 1024
NOT_ARRIVED: Final = "it has not arrived yet"
GONE: Final = "it is no longer kept"


class FileReader:
    """Reads files for prompts. images: whether the engine's model sees pictures."""

    def __init__(self, artifacts: Artifacts | None, *, images: bool = False) -> None:
        self._artifacts = artifacts
        self._images = images

    async def read(self, context: TurnContext) -> TurnContext:
        """The context with its unread files read. What was read is stored with its message."""
        if self._artifacts is None:
            return context
        messages: list[TranscriptMessage] = list(context.messages)
        ends_at = asyncio.get_running_loop().time() + ARRIVAL_WAIT_S
        chars_left, files_left = TURN_CHARS_MAX, FILES_MAX
        for place, message in enumerate(messages):
            files = list(message.files)
            for number, file in enumerate(files):
                if not self._is_read(file):
                    continue
                if files_left == 0:
                    read = replace(file, state="missing", reason="too many files came at once")
                else:
                    read = await self._read(context.turn.turn_id, file, chars_left, ends_at)
                    files_left -= 1
                chars_left -= len(read.text)
                files[number] = read
                await self._artifacts.keep_reading(
                    context.turn.turn_id, message.message_id, files[number]
                )
            if files != list(message.files):
                messages[place] = replace(message, files=tuple(files))
        return replace(context, messages=messages)

    async def pictures(self, context: TurnContext) -> Mapping[str, str] | None:
        """The newest pictures as data URLs, by id; None where the model sees none."""
        if self._artifacts is None or not self._images:
            return None
        urls: dict[str, str] = {}
        bytes_left = PICTURES_BYTES_MAX
        files = (file for message in reversed(context.messages) for file in reversed(message.files))
        for file in files:
            if file.state != "picture" or len(urls) == PICTURES_MAX:
                continue
            data = await self._load(context.turn.turn_id, file.id)
            bytes_left -= len(data)
            if bytes_left < 0:
                break
            if picture_type(data):
                urls[file.id] = data_url(data)
        return urls

    def _is_read(self, file: MessageFile) -> bool:
        if file.state != "unread" or (file.is_picture and not self._images):
            return False
        return not file.is_recording

    async def _read(
        self, turn_id: str, file: MessageFile, chars_max: int, ends_at: float
    ) -> MessageFile:
        artifact = await self._arrived(turn_id, file.id, ends_at)
        if artifact is None:
            return replace(file, state="missing", reason=NOT_ARRIVED)
        if artifact.state != "stored":
            return replace(file, state="missing", reason=artifact.reason or GONE)
        size_max = PICTURE_BYTES_MAX if file.is_picture else FILE_BYTES_MAX
        if (artifact.size or 0) > size_max:
            return _too_large(file, size_max)
        data = await self._load(turn_id, file.id)
        if not data and artifact.size:
            return replace(file, state="missing", reason=GONE)
        if picture_type(data):  # whatever its sender called it
            if len(data) > PICTURE_BYTES_MAX:
                return _too_large(file, PICTURE_BYTES_MAX)
            return replace(file, state="picture")
        if not file.is_picture:
            return _with_text(file, await read_document(data), chars_max)
        return replace(file, state="missing", reason="its kind of picture is not known")

    async def _arrived(self, turn_id: str, file_id: str, ends_at: float) -> Artifact | None:
        """The file once it is here or lost; None if neither comes in time."""
        assert self._artifacts is not None
        while True:
            artifact = await self._artifacts.get(turn_id, file_id)
            if artifact is None or artifact.state != "pending":
                return artifact
            if asyncio.get_running_loop().time() >= ends_at:
                return None
            await asyncio.sleep(ARRIVAL_LOOK_S)

    async def _load(self, turn_id: str, file_id: str) -> bytes:
        """The bytes of a file; none where it is gone."""
        assert self._artifacts is not None
        try:
            return await self._artifacts.load(turn_id, file_id)
        except Exception as error:  # whatever storage says: a prompt can do without
            log.warning("file %s of turn %s can't be loaded: %r", file_id, turn_id, error)
            return b""


def _too_large(file: MessageFile, bytes_max: int) -> MessageFile:
    reason = f"it is larger than {bytes_max // 1024**2} MiB"
    return replace(file, state="missing", reason=reason)


def _with_text(file: MessageFile, reading: Reading, chars_max: int) -> MessageFile:
    if reading.problem:
        return replace(file, state="missing", reason=reading.reason, pages=reading.pages)
    shown = max(0, min(FILE_CHARS_MAX, chars_max))
    return replace(
        file,
        state="text",
        text=reading.text[:shown],
        characters=len(reading.text),
        pages=reading.pages,
    )
