"""The answer as it is written, shown as a draft where a channel has them."""

import logging
from collections import OrderedDict
from dataclasses import dataclass

from roost_channels.channel import DRAFT_S, Channel, Drafting
from roost_channels.errors import DeliveryError, Rejected, RenderRejected
from roost_channels.outbox import ProgressSnapshot
from roost_channels.progress.status_messages import Room
from roost_channels.progress.status_view import StatusView, stream_text
from roost_channels.rendering.parts import RenderedPart, plainer, render

logger = logging.getLogger(__name__)

EVERY_S = 1.0  # drafts and typing share a budget of a little more
KEEP_ALIVE_S = DRAFT_S - 5.0
FORMAT_S = 0.1  # processor time; a draft is laid out in the event loop, again and again
TURNS_REMEMBERED_MAX = 1000  # twice as many as are shown at once


@dataclass(slots=True)
class _Shown:
    """What a turn's draft read when, and whether it is done without formatting."""

    text: str = ""
    at: float = 0.0
    is_plain: bool = False


class Drafts:
    """Shows drafts. The latest wins, and a server that knows no drafts is not asked again."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._shown: OrderedDict[str, _Shown] = OrderedDict()
        self._without: set[tuple[str, str]] = set()

    def fits(self, channel: Channel, snapshot: ProgressSnapshot) -> bool:
        """Whether this turn can be shown as a draft."""
        account = channel.name, channel.account
        return (
            isinstance(channel, Drafting)
            and account not in self._without
            and channel.can_draft(snapshot.address)
        )

    async def show(self, channel: Channel, snapshot: ProgressSnapshot, wanted: StatusView) -> None:
        """Bring the draft up to date: at most once a second, and often enough to stay."""
        room, now = self._room, self._room.clock.time()
        shown = self._shown.setdefault(snapshot.turn_id, _Shown())
        while len(self._shown) > TURNS_REMEMBERED_MAX:
            self._shown.popitem(last=False)
        part = _part(channel, snapshot, wanted)
        age = now - shown.at
        if age < (KEEP_ALIVE_S if part.text == shown.text else EVERY_S):
            return
        if not isinstance(channel, Drafting) or not room.may(channel, snapshot.address, "typing"):
            return
        async with room.lanes.hold(snapshot.address):
            if not await room.may_still(channel, snapshot, "typing"):
                return
            room.take(channel, snapshot.address, "typing")
            shown.text, shown.at = part.text, now
            try:
                number = max(snapshot.generation, 1)
                given = plainer(part) if shown.is_plain else part
                await channel.draft(snapshot.address, number, given)
            except RenderRejected:
                shown.is_plain, shown.text = True, ""
            except Rejected as error:
                self._without.add((channel.name, channel.account))
                logger.warning("%s takes no drafts: %s", channel.name, error)
            except DeliveryError as error:
                await room.dropped(snapshot.address, error)


def _part(channel: Channel, snapshot: ProgressSnapshot, wanted: StatusView) -> RenderedPart:
    """The newest part of what is written so far, or how things stand while nothing is."""
    parts = render(stream_text(snapshot), channel.capabilities, budget_s=FORMAT_S)
    if snapshot.phase == "answering" and parts:
        return parts[-1]
    return RenderedPart(wanted.text)
