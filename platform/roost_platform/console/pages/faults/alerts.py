"""Alerts: what is wrong now, what was, who is told, and by which rules."""

from dataclasses import dataclass
from typing import Annotated

from roost_platform.alerts.rules import MEANINGS, RULES
from roost_platform.console.console import Visit
from roost_platform.console.live import Fragment, LivePage
from roost_platform.console.navigation import NavLink
from roost_platform.console.page import Page
from roost_platform.identity.roles import Role
from roost_platform.views.faults.alerts import AlertRow, open_alerts, resolved_alerts
from roost_platform.views.pagination import Pages, page_number


@dataclass(frozen=True, slots=True)
class AlertSetup:
    """Who is told, by which rules. rules: (rule, its words, whether it is on)."""

    chats: tuple[str, ...] = ()
    has_webhook: bool = False
    cool_down_s: float = 3600.0
    rules: tuple[tuple[str, str, bool], ...] = ()


@dataclass(frozen=True, slots=True)
class AlertsContext:
    """The Alerts page."""

    open: Annotated[tuple[AlertRow, ...], "What is wrong now"]
    resolved: Annotated[tuple[AlertRow, ...], "This page of what was wrong"]
    pages: Annotated[Pages, "Where we are in the history"]
    setup: Annotated[AlertSetup, "Who is told of what"]
    query: Annotated[str, "The query string, for the stream"]


async def load(visit: Visit) -> AlertsContext:
    """What is wrong, and one page of the history."""
    number = page_number(visit.query("page"))
    async with visit.deps.stores.database.read() as session:
        now = await open_alerts(session)
        count, before = await resolved_alerts(session, number)
    config = visit.deps.alerts
    setup = AlertSetup(
        chats=config.chats,
        has_webhook=bool(config.webhook.get_secret_value()),
        cool_down_s=config.cool_down_s,
        rules=tuple((rule, MEANINGS[rule], rule in config.rules) for rule in RULES),
    )
    return AlertsContext(
        now, before, Pages(number, count, "/alerts"), setup, visit.request.url.query
    )


def live(data: AlertsContext) -> LivePage:
    """What is wrong now."""
    return LivePage((Fragment("open-alerts", "faults/open_alerts.html", data.open),))


PAGE = Page(
    path="/alerts",
    template="faults/alerts.html",
    load=load,
    live=live,
    role=Role.operator,
    has_json=True,
    nav=NavLink("/alerts", "Alerts", "triangle-alert", role=Role.operator),
)
