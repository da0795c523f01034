"""Operators' passwords: argon2id outside the event loop, one at a time."""

import asyncio
import contextlib
import hashlib
import os
import secrets
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from roost_platform.errors import Busy, Refused

PASSWORD_LENGTH_MIN = 12
PASSWORD_LENGTH_MAX = 256
HASH_MEMORY_KIB = 46 * 1024  # a hash takes about 50 ms of one core
HASHES_WAITING_MAX = 32  # for the one thread that hashes, in one process
HASH_NICENESS = 10  # of that thread; answers go first

T = TypeVar("T")


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


def _give_way() -> None:
    """Let the other threads of this process go first; only Linux has priorities of threads."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), HASH_NICENESS)


@dataclass(slots=True)
class Passwords:
    """argon2id with 46 MiB, one pass and one lane, the first choice of OWASP's cheat sheet.

    One password is hashed at a time, on a thread of its own, so that guesses from everywhere
    take one core at most. Raises Busy where too many wait.
    """

    hasher: PasswordHasher = field(
        default_factory=lambda: PasswordHasher(
            time_cost=1, memory_cost=HASH_MEMORY_KIB, parallelism=1
        )
    )
    _thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, "passwords", initializer=_give_way),
        init=False,
    )
    _waiting: int = field(default=0, init=False)
    _decoy: str = field(default="", init=False)

    async def hash(self, password: str) -> str:
        """The password's argon2id hash; raises Refused for a bad length."""
        check_password(password)
        return await self._run(self.hasher.hash, password)

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether the password is right. An unknown account (None) takes as long as a known one."""
        if not self._decoy:
            self._decoy = await self._run(self.hasher.hash, new_token())
        password = password[:PASSWORD_LENGTH_MAX]
        return await self._run(self._verify, stored or self._decoy, password) and bool(stored)

    def refuse_if_full(self) -> None:
        """Raise Busy if too many passwords wait for their hash."""
        if self._waiting >= HASHES_WAITING_MAX:
            raise Busy("Too many people sign in at the moment. Try again in a few seconds.")

    def is_outdated(self, stored: str) -> bool:
        """Whether this hash was made with other parameters than new ones are."""
        return self.hasher.check_needs_rehash(stored)

    async def _run(self, work: Callable[..., T], *arguments: str) -> T:
        self.refuse_if_full()
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, work, *arguments)
        finally:
            self._waiting -= 1

    def _verify(self, stored: str, password: str) -> bool:
        try:
            return self.hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False
