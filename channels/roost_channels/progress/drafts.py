"""Shows the answer while it is written, as a draft, on channels that have drafts."""

import logging
from collections import OrderedDict
from dataclasses import dataclass

from roost_channels.channel import DRAFT_S, Channel, Drafting
from roost_channels.errors import DeliveryError, Rejected, RenderRejected
from roost_channels.outbox import ProgressSnapshot
from roost_channels.progress.guard import ProgressGuard
from roost_channels.progress.status_view import StatusView, stream_text
from roost_channels.rendering.parts import RenderedPart, plainer, render

logger = logging.getLogger(__name__)

EVERY_S = 1.0  # drafts and typing share a budget of slightly more calls
KEEP_ALIVE_S = DRAFT_S - 5.0
FORMAT_S = 0.1  # processor time; a draft is laid out in the event loop, again and again
TURNS_REMEMBERED_MAX = 1000  # of the renderer, too; far more turns than are shown at once


@dataclass(slots=True)
class _Shown:
    """What a turn's draft reads, since when, and whether it goes without formatting."""

    text: str = ""
    at: float = 0.0
    is_plain: bool = False


class Drafts:
    """Shows drafts: the latest wins, and a server that refuses drafts is not asked again."""

    def __init__(self, guard: ProgressGuard) -> None:
        self._guard = guard
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
        guard, now = self._guard, self._guard.ledger.clock.time()
        shown = self._shown.setdefault(snapshot.turn_id, _Shown())
        while len(self._shown) > TURNS_REMEMBERED_MAX:
            self._shown.popitem(last=False)
        part = _part(channel, snapshot, wanted)
        age = now - shown.at
        if age < (KEEP_ALIVE_S if part.text == shown.text else EVERY_S):
            return
        if not isinstance(channel, Drafting) or not guard.allows(
            channel, snapshot.address, "typing"
        ):
            return
        async with guard.ledger.lanes.lock(snapshot.address):
            if not await guard.still_allows(channel, snapshot, "typing"):
                return
            guard.take(channel, snapshot.address, "typing")
            shown.text, shown.at = part.text, now
            try:
                number = max(snapshot.generation, 1)
                draft = plainer(part) if shown.is_plain else part
                await channel.draft(snapshot.address, number, draft)
            except RenderRejected:
                shown.is_plain, shown.text = True, ""
            except Rejected as error:
                self._without.add((channel.name, channel.account))
                logger.warning("%s takes no drafts: %s", channel.name, error)
            except DeliveryError as error:
                await guard.drop(snapshot.address, error)


def _part(channel: Channel, snapshot: ProgressSnapshot, wanted: StatusView) -> RenderedPart:
    """The newest part of the text so far, or the status view while there is no text."""
    parts = render(stream_text(snapshot), channel.capabilities, budget_s=FORMAT_S)
    if snapshot.phase == "answering" and parts:
        return parts[-1]
    return RenderedPart(wanted.text)
