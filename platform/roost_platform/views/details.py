"""Errors in the words of other programs are for operators; this puts plain words in their place."""

from collections.abc import Sequence
from dataclasses import replace

from roost_platform.views.channels import ChannelHealth
from roost_platform.views.delivery_views import AttemptView, DeliveryRow, DeliveryView, PartView
from roost_platform.views.health import ServiceHealth

SEEN_BY_OPERATORS = "Operators see the reason here."


def plain_channel(one: ChannelHealth) -> ChannelHealth:
    """An account without its process's own words and without unreadable events."""
    return replace(one, detail=_plain(one.detail) if not one.is_up else "", dead_letters=())


def plain_service(one: ServiceHealth) -> ServiceHealth:
    """A process; of one that is down only that it is."""
    return one if one.is_up else replace(one, detail=SEEN_BY_OPERATORS)


def plain_rows(rows: Sequence[DeliveryRow]) -> tuple[DeliveryRow, ...]:
    """Deliveries without errors and evidence."""
    return tuple(replace(row, error=_plain(row.error), evidence=()) for row in rows)


def plain_delivery(view: DeliveryView) -> DeliveryView:
    """One delivery without errors, answers and evidence."""
    (row,) = plain_rows([view.row])
    return replace(view, row=row, parts=tuple(_plain_part(part) for part in view.parts))


def _plain_part(part: PartView) -> PartView:
    tries = tuple(_plain_try(one) for one in part.tries)
    return replace(part, error=_plain(part.error), evidence=(), tries=tries)


def _plain_try(one: AttemptView) -> AttemptView:
    return replace(one, description="", asked="", concluded="")


def _plain(error: str) -> str:
    return SEEN_BY_OPERATORS if error else ""
