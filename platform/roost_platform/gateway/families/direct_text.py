"""Sends text of a streamed answer as it comes, without a step of the task that waits for events."""

from collections.abc import Callable

from roost_platform.gateway.events import TextDelta
from roost_platform.gateway.exchange import Exchange
from roost_platform.gateway.families.family import StreamWriter


class DirectText:
    """See TextSink. heard: is told of each text, as the router is of those in events."""

    __slots__ = ("_exchange", "_heard", "_writer")

    def __init__(
        self, exchange: Exchange, writer: StreamWriter, heard: Callable[[str], None]
    ) -> None:
        self._exchange = exchange
        self._writer = writer
        self._heard = heard

    @property
    def is_ready(self) -> bool:
        """Whether the client takes more at once."""
        return self._exchange.takes_parts

    def send(self, text: str, choice: int) -> None:
        """Send this text of a choice, where `is_ready`."""
        self._heard(text)
        if part := self._writer.write((TextDelta(text, choice),)):
            self._exchange.send_part_now(part)
