"""Settings in the form in which storage follows them."""

from roost_platform.approval_rules import ApprovalRules
from roost_platform.settings.config import Settings

DAY_S = 24 * 3600.0


def approval_rules(settings: Settings) -> ApprovalRules:
    """Return how people are asked; exact words decide where an account's buttons may be missing."""
    return ApprovalRules(
        unsafe=settings.approvals.unsafe,
        expire_s=settings.approvals.expire_s,
        grant_s=settings.approvals.grant_days * DAY_S,
        asks_a_day=settings.approvals.asks_a_day,
        by_words=frozenset(
            (kind.channel, config.account)
            for kind, config in settings.accounts()
            if not kind.has_buttons
        ),
    )
