"""Hints to an engine about its sessions: what they wait for, and which go on or have ended."""

from typing import Final, Protocol

from roost_inference.client.sessions import EngineSession, Wait

# After an answer the session may go on for this long: the engine evicts all other KV before its.
IDLE_TTL_S: Final = 3600.0
# Added to a tool's time limit: its result is stored and the next model call begins.
TOOL_GRACE_S: Final = 30.0


class SessionHints(Protocol):
    """Where hints go. Giving one returns at once and never fails."""

    def waits(self, session: EngineSession, wait: Wait, ttl_s: float) -> None:
        """The session waits for this, for `ttl_s` seconds at most."""
        ...

    def continues(self, session: EngineSession) -> None:
        """A message has arrived: the session is about to go on."""
        ...

    def ended(self, session: EngineSession) -> None:
        """Nothing more is expected of the session."""
        ...


class NoHints:
    """For engines that take no hints."""

    def waits(self, session: EngineSession, wait: Wait, ttl_s: float) -> None:
        """Do nothing."""

    def continues(self, session: EngineSession) -> None:
        """Do nothing."""

    def ended(self, session: EngineSession) -> None:
        """Do nothing."""
