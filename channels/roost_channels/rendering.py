"""Markdown rendered to parts that fit a channel."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Entity:
    """A formatted range in UTF-16 units, as Telegram's Bot API names its types; `url` for text_link, `language` for pre."""

    type: str
    offset: int
    length: int
    url: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True)
class RenderedPart:
    """Text ready for one physical send. char_start and char_end place it in the logical message's plain text."""

    text: str
    entities: tuple[Entity, ...] = field(default=())
    char_start: int = 0
    char_end: int = 0
