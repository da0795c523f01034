"""The order of delivery receipts: which of two reports about one message counts."""

# Later states win; a failure is the last word unless the person has the message already.
RANK = {"": 0, "sent": 1, "delivered": 2, "read": 3}
ACCEPTED = frozenset({"accepted", "scheduled", "queued", "sending", "sent", "delivered", "read"})
# Reports about messages that were accepted and did not arrive.
FAILED = frozenset({"failed", "undelivered", "canceled"})


def newer_receipt(known: str, reported: str) -> str:
    """The state of a message after one more report: sent, delivered, read, failed or empty."""
    if known == "failed":
        return known
    if reported in FAILED:
        return known if RANK[known] >= RANK["delivered"] else "failed"
    return reported if RANK.get(reported, 0) > RANK[known] else known
