"""Time zones by their IANA names, and by the cities in these names."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final
from unicodedata import combining, normalize
from zoneinfo import ZoneInfo, available_timezones

ZONE_CHARS_MAX: Final = 60
_YEARS: Final = range(2020, 2041)  # in which zones of one city are compared
# Old names of regions, which repeat zones that have a better name, and files that are no zones.
_NO_PLACES: Final = ("posix/", "right/", "Etc/", "SystemV/", "US/", "localtime", "Factory")


@cache
def _known() -> frozenset[str]:
    """All IANA names; read once, as they are files."""
    return frozenset({*available_timezones(), "UTC"})


@cache
def _names() -> Mapping[str, str]:
    """The IANA name of each zone by its name in lower case."""
    return {name.lower(): name for name in _known()}


@cache
def _cities() -> Mapping[str, str]:
    """The zone of each city, by its name in lower case; of two zones only if their clocks agree."""
    found: dict[str, set[str]] = {}
    for name in _known():
        if "/" in name and not name.startswith(_NO_PLACES):
            city = name.rsplit("/", 1)[1].replace("_", " ").lower()
            found.setdefault(city, set()).add(name)
    return {city: max(names) for city, names in found.items() if _agree(names)}


def _agree(names: set[str]) -> bool:
    """Whether zones are one: old names are kept beside new ones, such as Asia/Istanbul."""
    if len(names) == 1:
        return True
    months = [datetime(year, month, 1, tzinfo=UTC) for year in _YEARS for month in range(1, 13)]
    zones = [ZoneInfo(name) for name in names]
    return len({tuple(one.astimezone(zone).utcoffset() for one in months) for zone in zones}) == 1


def find_zone(text: str) -> str | None:
    """The IANA name that a name or a city means, such as Europe/Rome for "rome"; else None.

    Only what can be meant in one way: "EST" and "+1" are refused, as they have no summer time.
    """
    words = " ".join(text[: ZONE_CHARS_MAX + 1].split()).lower().strip(" .,!")
    words = "".join(one for one in normalize("NFKD", words) if not combining(one))
    if len(words) > ZONE_CHARS_MAX or not words:
        return None
    name = _names().get(words.replace(" ", "_"))
    if name is not None and ("/" in name or name == "UTC"):
        return name
    return _cities().get(words.replace("_", " ").replace("-", " ")) or _cities().get(words)


def zone_of(name: str) -> ZoneInfo:
    """The zone of an IANA name. Raises LookupError for an unknown one."""
    # Looked up by name first: ZoneInfo opens files by path, and the name may come from a model.
    if name not in _known():
        raise LookupError(f"There is no time zone {name!r}.")
    return ZoneInfo(name)


def instant(wall: datetime, zone: ZoneInfo) -> float:
    """The instant of a local time in seconds since the epoch.

    A time that the clock skips becomes the next one that exists; of one that comes twice it is the
    first. A time with an offset of its own is that instant.
    """
    if wall.tzinfo is not None:
        return wall.timestamp()
    early, late = (wall.replace(tzinfo=zone, fold=fold).timestamp() for fold in (1, 0))
    if local(late, zone).replace(tzinfo=None) == wall:
        return late
    # Skipped: the clock jumps between the two, where the offset changes.
    low, high = int(early), int(late)
    before = _offset(low, zone)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(middle, zone) == before else (low, middle)
    return float(high)


def local(at: float, zone: ZoneInfo) -> datetime:
    """The local time of an instant."""
    return datetime.fromtimestamp(at, UTC).astimezone(zone)


def _offset(at: float, zone: ZoneInfo) -> timedelta | None:
    return local(at, zone).utcoffset()
