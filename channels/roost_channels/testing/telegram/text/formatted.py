"""Message text as the server stores it: entities in UTF-16 units, trimmed and checked."""

from dataclasses import dataclass, field
from typing import Any

from roost_channels.testing.telegram.errors import bad_request
from roost_channels.testing.telegram.text.html import parse_html
from roost_channels.testing.telegram.text.markdown import parse_markdown_v1, parse_markdown_v2
from roost_channels.testing.telegram.text.utf16 import utf16_length, utf16_slice

RAW_BYTES_MAX = 32768
TEXT_CODEPOINTS_MAX = 4096
CAPTION_CODEPOINTS_MAX = 1024
ENTITY_OFFSET_MAX = 1_000_000
ENTITIES_MAX = 100

SPLITTABLE = {"bold", "italic", "underline", "strikethrough", "spoiler"}
VERBATIM = {"code", "pre"}
CONTINUOUS = VERBATIM | {"text_link", "text_mention", "custom_emoji", "date_time"}
BLOCKQUOTES = {"blockquote", "expandable_blockquote"}
DETECTED_BY_SERVER = {
    "mention",
    "hashtag",
    "cashtag",
    "bot_command",
    "url",
    "email",
    "phone_number",
    "bank_card_number",
}
IN_QUOTES = SPLITTABLE | {"custom_emoji", "date_time"}

Entity = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Formatted:
    """A text with its entities, in order of their offsets."""

    text: str
    entities: list[Entity] = field(default_factory=list)


def read_formatted(text: str, parse_mode: str, entities: Any) -> Formatted:
    """Parse markup, or read explicit entities; a parse mode wins over entities."""
    if len(text.encode()) > RAW_BYTES_MAX:
        raise bad_request("Text is too long")
    mode = parse_mode.lower()
    if text and mode and mode != "none":
        parsers = {
            "html": parse_html,
            "markdownv2": parse_markdown_v2,
            "markdown": parse_markdown_v1,
        }
        if mode not in parsers:
            raise bad_request("Unsupported parse_mode")
        try:
            parsed, parsed_entities = parsers[mode](text)
        except ValueError as problem:
            raise bad_request(f"Can't parse entities: {problem}") from None
        return Formatted(parsed, parsed_entities)
    listed = entities if isinstance(entities, list) else []
    explicit = [_read_entity(entity) for entity in listed]
    return Formatted(text, [e for e in explicit if e["type"] not in DETECTED_BY_SERVER])


def _read_entity(entity: Any) -> Entity:
    def fail(reason: str) -> Exception:
        return bad_request(f"Can't parse MessageEntity: {reason}")

    if not isinstance(entity, dict):
        raise fail("expected an Object")
    for name in ("offset", "length"):
        if name not in entity:
            raise fail(f'Can\'t find field "{name}"')
        if not isinstance(entity[name], int) or isinstance(entity[name], bool):
            raise fail(f'Field "{name}" must be of type Number')
    kind = entity.get("type")
    if kind not in SPLITTABLE | CONTINUOUS | BLOCKQUOTES | DETECTED_BY_SERVER:
        raise fail("Unsupported type specified")
    clean: Entity = {"type": kind, "offset": entity["offset"], "length": entity["length"]}
    required = {
        "text_link": "url",
        "text_mention": "user",
        "custom_emoji": "custom_emoji_id",
        "date_time": "unix_time",
    }.get(kind)
    if required is not None:
        if required not in entity:
            raise fail(f'Can\'t find field "{required}"')
        clean[required] = entity[required]
    if kind == "pre" and entity.get("language"):
        clean["language"] = entity["language"]
    return clean


def normalize(formatted: Formatted, *, empty: str = "Text must be non-empty") -> Formatted:
    """Trim the text and drop entities as the server does.

    Raises BotApiError 400 for bad bounds, and with the text `empty` when nothing is left.
    """
    for entity in formatted.entities:
        if not 0 <= entity["offset"] <= ENTITY_OFFSET_MAX:
            raise bad_request(f"Receive an entity with incorrect offset {entity['offset']}")
        if not 0 <= entity["length"] <= ENTITY_OFFSET_MAX:
            raise bad_request(f"Receive an entity with incorrect length {entity['length']}")
    text = formatted.text
    entities = sorted(
        (e for e in formatted.entities if e["length"] > 0),
        key=lambda e: (e["offset"], -e["length"]),
    )
    _check_bounds(text, entities)
    text, entities = _trim(text, _without_conflicts(entities))
    if not text:
        raise bad_request(empty)
    return Formatted(text, entities[:ENTITIES_MAX])


def _check_bounds(text: str, entities: list[Entity]) -> None:
    starts: dict[int, int] = {}
    inside: dict[int, int] = {}
    units = 0
    byte = 0
    for character in text:
        starts[units] = byte
        width = 2 if ord(character) > 0xFFFF else 1
        byte += len(character.encode("utf-8", "surrogatepass"))
        if width == 2:
            inside[units + 1] = byte
        units += width
    for entity in entities:
        offset, end = entity["offset"], entity["offset"] + entity["length"]
        if offset in inside:
            raise bad_request(
                f"Entity begins in a middle of a UTF-16 symbol at byte offset {inside[offset]}"
            )
        if offset >= units:
            raise bad_request(f"Entity begins after the end of the text at UTF-16 offset {offset}")
        if end in inside:
            raise bad_request(
                f"Entity beginning at UTF-16 offset {offset} ends in a middle of a UTF-16 symbol "
                f"at byte offset {inside[end]}"
            )
        if end > units:
            raise bad_request(
                f"Entity beginning at UTF-16 offset {offset} ends after the end of the text "
                f"at UTF-16 offset {end}"
            )


def _without_conflicts(entities: list[Entity]) -> list[Entity]:
    """Drop overlaps of code, links and mentions; cut styles out of code."""
    clean: list[Entity] = []
    solid: list[Entity] = []
    for entity in entities:
        if entity["type"] not in CONTINUOUS:
            continue
        if all(not _overlap(entity, other) for other in solid):
            solid.append(entity)
    verbatim = [(e["offset"], e["offset"] + e["length"]) for e in solid if e["type"] in VERBATIM]
    for entity in entities:
        if entity["type"] in SPLITTABLE:
            pieces = _subtract(entity["offset"], entity["offset"] + entity["length"], verbatim)
            clean.extend({**entity, "offset": a, "length": b - a} for a, b in pieces)
        elif entity["type"] in BLOCKQUOTES or entity in solid:
            clean.append(entity)
    return sorted(clean, key=lambda e: (e["offset"], -e["length"]))


def _overlap(one: Entity, other: Entity) -> bool:
    return bool(
        one["offset"] < other["offset"] + other["length"]
        and other["offset"] < one["offset"] + one["length"]
    )


def _subtract(start: int, end: int, holes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    pieces = [(start, end)]
    for low, high in holes:
        pieces = [
            piece
            for a, b in pieces
            for piece in ((a, min(b, low)), (max(a, high), b))
            if piece[0] < piece[1]
        ]
    return pieces


def _trim(text: str, entities: list[Entity]) -> tuple[str, list[Entity]]:
    cleaned = text.replace("\r", "") if not entities else text
    stripped = cleaned.rstrip()
    end = utf16_length(stripped)
    clipped = [
        {**e, "length": min(e["length"], end - e["offset"])} for e in entities if e["offset"] < end
    ]
    # Leading blanks are cut up to the first entity only.
    first = min((e["offset"] for e in clipped), default=end)
    lead = 0
    while lead < len(stripped) and lead < first and stripped[lead] in " \n":
        lead += 1
    return stripped[lead:], [{**e, "offset": e["offset"] - lead} for e in clipped]


def quote_position(message: Formatted, quote: str, wanted: int) -> int | None:
    """The offset of a quote in a message, in UTF-16 units: the one nearest to `wanted`."""
    total, length = utf16_length(message.text), utf16_length(quote)
    if length == 0 or length > total:
        return None
    wanted = min(max(wanted, 0), total - 1)
    for distance in range(total + 1):
        for start in (wanted - distance, wanted + distance + 1):
            if 0 <= start <= total - length and utf16_slice(message.text, start, length) == quote:
                return start
    return None


def quote_matches(message: Formatted, quote: Formatted, position: int) -> bool:
    """Whether the styles inside the quoted range agree; other entities are ignored."""
    length = utf16_length(quote.text)

    def styles(entities: list[Entity], shift: int) -> set[tuple[str, int, int]]:
        ranges = set()
        for entity in entities:
            start = max(entity["offset"] - shift, 0)
            end = min(entity["offset"] + entity["length"] - shift, length)
            if entity["type"] in IN_QUOTES and start < end:
                ranges.add((entity["type"], start, end))
        return ranges

    return styles(message.entities, position) == styles(quote.entities, 0)
