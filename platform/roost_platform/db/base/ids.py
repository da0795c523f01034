"""Ids and secrets that rows are made with."""

import secrets

from uuid_utils import uuid7

NONCE_BYTES = 9


def new_id() -> str:
    """A UUIDv7: ids sort by the time they were made."""
    return str(uuid7())


def new_nonce() -> str:
    """A word that nobody guesses, short enough for a button beside an id."""
    return secrets.token_urlsafe(NONCE_BYTES)
