"""A running stack and the phones that reach it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from roost_platform.testing.phones import Phones, start_phones
from roost_platform.testing.stack import Stack


@dataclass
class World:
    """A running stack and the phones that reach it."""

    stack: Stack
    phones: Phones


def run_world(
    tmp: Path, settings: dict[str, str], more: dict[str, str] | None = None
) -> Iterator[World]:
    """A stack whose channels are the phones' networks; everything ends with the generator.

    more: settings that count above those of the phones.
    """
    stack = Stack(tmp / "data", settings)
    process, phones = start_phones(stack.url)
    stack.env |= phones.settings | (more or {})
    try:
        stack.start()
        yield World(stack, phones)
    finally:
        stack.stop()
        process.stop()
        phones.telegram.http.close()
        phones.whatsapp.http.close()
        phones.cloud.http.close()
