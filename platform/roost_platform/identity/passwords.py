"""Operators' passwords: argon2id outside the event loop, few at a time."""

import asyncio
import hashlib
import secrets
from dataclasses import dataclass, field

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from roost_platform.errors import Refused

PASSWORD_LENGTH_MIN = 12
PASSWORD_LENGTH_MAX = 256
HASHES_AT_ONCE_MAX = 2  # each takes 64 MiB and about 130 ms of a core


def token_hash(token: str) -> str:
    """SHA-256 in hex: tokens have 256 random bits, so a slow hash would add nothing."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_token() -> str:
    """256 random bits, fit for URLs and cookies."""
    return secrets.token_urlsafe(32)


def check_password(password: str) -> None:
    """Raise Refused for a password that is too short or too long."""
    if len(password) < PASSWORD_LENGTH_MIN:
        raise Refused(f"The password needs at least {PASSWORD_LENGTH_MIN} characters.")
    if len(password) > PASSWORD_LENGTH_MAX:
        raise Refused(f"The password may have at most {PASSWORD_LENGTH_MAX} characters.")


@dataclass(slots=True)
class Passwords:
    """argon2id with the library's defaults (64 MiB, 3 passes, 4 lanes), few at once."""

    hasher: PasswordHasher = field(default_factory=PasswordHasher)
    _gate: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(HASHES_AT_ONCE_MAX), init=False
    )
    _decoy: str = field(default="", init=False)

    async def hash(self, password: str) -> str:
        """The password's argon2id hash; raises Refused for a bad length."""
        check_password(password)
        async with self._gate:
            return await asyncio.to_thread(self.hasher.hash, password)

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether the password is right. An unknown account (None) takes as long as a known one."""
        async with self._gate:
            if not self._decoy:
                self._decoy = await asyncio.to_thread(self.hasher.hash, new_token())
            return await asyncio.to_thread(
                self._verify, stored or self._decoy, password[:PASSWORD_LENGTH_MAX]
            ) and bool(stored)

    def _verify(self, stored: str, password: str) -> bool:
        try:
            return self.hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False
