"""What FakeTelegram keeps over a restart: people, chats, files and updates nobody fetched yet."""

from collections import deque
from dataclasses import dataclass, replace

from pydantic import TypeAdapter

from roost_channels.testing.kept import (
    IDS_SKIPPED,
    KEPT_MESSAGES_MAX,
    KEPT_VERSION,
    check_version,
    newest_files,
)
from roost_channels.testing.telegram.state.core import TelegramCore
from roost_channels.testing.telegram.state.records import Chat, File, User
from roost_channels.testing.telegram.state.updates import Update


@dataclass(frozen=True, slots=True)
class KeptTelegram:
    """The state of one bot's world; what lasts seconds, such as drafts and typing, is left out."""

    version: int
    users: tuple[User, ...]
    chats: tuple[Chat, ...]
    files: tuple[File, ...]
    last_message_id: int
    next_update_id: int
    updates: tuple[Update, ...]


_JSON = TypeAdapter(KeptTelegram)


def dump(core: TelegramCore) -> bytes:
    """The state as JSON."""
    world = core.world
    kept = KeptTelegram(
        KEPT_VERSION,
        tuple(world.users.values()),
        tuple(_newest(chat) for chat in world.chats.values()),
        tuple(newest_files(world.files.values())),
        world.mailbox_message_id,
        core.updates.next_id,
        tuple(core.updates.pending),
    )
    return _JSON.dump_json(kept)


def _newest(chat: Chat) -> Chat:
    shown = [message for message in chat.messages.values() if message.exists]
    messages = {message.message_id: message for message in shown[-KEPT_MESSAGES_MAX:]}
    return replace(chat, messages=messages, typing={}, typings=[], draft=None)


def load(core: TelegramCore, kept: bytes) -> None:
    """Take over what `dump` returned; ValueError for anything else."""
    read = _JSON.validate_json(kept)
    check_version(read.version)
    numbers = [int(f.unique_id.strip("U").partition("x")[0]) for f in read.files]
    world, updates = core.world, core.updates
    world.users = {user.id: user for user in read.users}
    world.chats = {chat.id: chat for chat in read.chats}
    world.files = {file.file_id: file for file in read.files}
    world.last_file_number = max(numbers, default=0)
    last = max(world.mailbox_message_id, read.last_message_id + IDS_SKIPPED)
    world.mailbox_message_id = last
    updates.next_id = max(updates.next_id, read.next_update_id + IDS_SKIPPED)
    updates.pending = deque(read.updates)
    for chat in world.chats.values():
        if chat.type == "supergroup":
            chat.last_message_id += IDS_SKIPPED
