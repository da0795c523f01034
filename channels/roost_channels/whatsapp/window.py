"""The 24 hours in which free text may be sent, and what refusals after the acceptance mean.

Shared by both ways to WhatsApp.
"""

from roost_channels.errors import DeliveryError, Rejected, Throttled, WindowClosed
from roost_channels.intake import Refusal

SESSION_WINDOW_S = 86_400.0
# What people and operators read of the approved template, whatever its own words are.
INVITATION = "Your answer is ready. Please reply to this message to read it."
# A limit that shows only after the acceptance is per person and over within a minute.
THROTTLED_AGAIN_S = 60.0


def refusal_of(error: DeliveryError | None, *, has_template: bool) -> Refusal | None:
    """Return what a late failure means for its part, None where it is final."""
    if isinstance(error, WindowClosed):
        return Refusal(held=True, invitation=INVITATION if has_template else "")
    if isinstance(error, Throttled):
        return Refusal(retry_after_s=max(error.retry_after_s, THROTTLED_AGAIN_S))
    if isinstance(error, Rejected):
        return Refusal(of_content=True)
    return None
