"""The key of the audit trail: hashes that only its owner can make, and the seal of the trail's end.

Who can write the database but has no key can neither change a row nor cut rows off unseen.
"""

import hashlib
import hmac
import json
from dataclasses import dataclass

from roost_platform.db import models

ANCHOR_ID = 1
GENESIS = "0" * 64
BROKEN = "broken"  # the anchor was changed without the key; no later row may hide that


@dataclass(frozen=True, slots=True)
class AuditKey:
    """The secret, and whether a trail was sealed with it: its anchor must then have a seal."""

    secret: bytes
    has_sealed: bool = False


def chain_hash(row: models.Audit, key: AuditKey | None) -> str:
    """The hash over the previous hash and the row's canonical JSON: HMAC-SHA-256 with the key,
    SHA-256 for a row without one. A keyed row without the key has an empty hash."""
    fields = [row.at, row.actor, row.action, row.object, row.detail, row.ip]
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    linked = f"{row.prev_hash}{canonical}".encode()
    if not row.keyed:
        return hashlib.sha256(linked).hexdigest()
    return hmac.new(key.secret, linked, hashlib.sha256).hexdigest() if key else ""


def seal_of(anchor: models.AuditAnchor, key: AuditKey) -> str:
    """The seal of the trail's length and end."""
    told = f"{anchor.length}:{anchor.last_hash}".encode()
    return hmac.new(key.secret, told, hashlib.sha256).hexdigest()


def fault_of(anchor: models.AuditAnchor | None, key: AuditKey | None) -> str | None:
    """A sentence about what is wrong with the anchor; None if it is right."""
    if anchor is None:
        return "The anchor that says how long the trail is was removed."
    if not anchor.seal:
        was_sealed = key is not None and key.has_sealed
        return "The seal of the trail's end was removed." if was_sealed else None
    if key is None:
        return "The trail can't be checked: its key is not in the data folder."
    if not hmac.compare_digest(anchor.seal, seal_of(anchor, key)):
        return "The seal of the trail's end is wrong: rows may be missing, or the key is another."
    return None


def advance(anchor: models.AuditAnchor, last_hash: str, key: AuditKey | None) -> None:
    """Move the anchor to a new last row. An anchor that was wrong stays wrong."""
    is_right = fault_of(anchor, key) is None
    anchor.length += 1
    anchor.last_hash = last_hash
    if key is not None:
        anchor.seal = seal_of(anchor, key) if is_right else BROKEN
