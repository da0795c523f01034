"""Channels: the state of each account, its traffic and addresses, and how to set it up."""

from dataclasses import dataclass
from typing import Annotated

from roost_platform.console.console import Visit
from roost_platform.console.dependencies import ChannelSetup
from roost_platform.console.live import Fragment, LivePage
from roost_platform.console.navigation import NavLink
from roost_platform.console.page import Page
from roost_platform.views.channels import ChannelHealth, account_label, channels, plain_channel


@dataclass(frozen=True, slots=True)
class ChannelCard:
    """One channel: as configured, and as its process reports it (None before it ever did)."""

    setup: ChannelSetup
    health: ChannelHealth | None

    @property
    def label(self) -> str:
        """Which account it is; empty while the channel is not configured."""
        if self.health is not None:
            return self.health.label
        return account_label(self.setup.channel, self.setup.account)


@dataclass(frozen=True, slots=True)
class ChannelsContext:
    """The Channels page."""

    cards: Annotated[tuple[ChannelCard, ...], "Configured and reported accounts"]


async def load(visit: Visit) -> ChannelsContext:
    """A card for each configured account, then for each that reported once."""
    now = visit.deps.stores.database.now()
    configured = {(one.channel, one.account) for one in visit.deps.channels if one.account}
    configured |= set(visit.deps.health.accounts or ())
    async with visit.deps.stores.database.read() as session:
        reported = {(c.channel, c.account): c for c in await channels(session, now, configured)}
    if not visit.me.may("operator"):
        reported = {key: plain_channel(one) for key, one in reported.items()}
    cards = [
        ChannelCard(setup, reported.pop((setup.channel, setup.account), None))
        for setup in visit.deps.channels
    ]
    # An account that is no longer configured still shows where its people are.
    cards += [ChannelCard(ChannelSetup(c.channel, c.account), c) for c in reported.values()]
    return ChannelsContext(tuple(cards))


def live(data: ChannelsContext) -> LivePage:
    """The cards."""
    return LivePage((Fragment("channel-cards", "channels/cards.html", data.cards),))


PAGE = Page(
    path="/channels",
    template="channels/page.html",
    load=load,
    live=live,
    nav=NavLink("/channels", "Channels", "radio-tower"),
)
