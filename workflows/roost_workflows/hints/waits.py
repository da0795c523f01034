"""What an engine may be told about sessions: what they wait for, and when they go on or end."""

from typing import Final, Protocol

from roost_inference.client.sessions import Wait

# How long a session is expected to go on after an answer: its KV is kept from leaving RAM and
# below while anything else can go.
IDLE_TTL_S: Final = 3600.0
# Beyond the time a tool may take: its result is stored and the next model call made.
TOOL_GRACE_S: Final = 30.0


class SessionOrders(Protocol):
    """What an engine is told about sessions, named by id and tenant's salt. Returns at once."""

    def waits(self, session_id: str, tenant: str, wait: Wait, ttl_s: float) -> None:
        """The session waits for this, for so long at most."""
        ...

    def expected(self, session_id: str, tenant: str) -> None:
        """A message has arrived: the session is about to go on."""
        ...

    def closed(self, session_id: str, tenant: str) -> None:
        """The session is over."""
        ...


class NoOrders:
    """For engines that are to be told nothing."""

    def waits(self, session_id: str, tenant: str, wait: Wait, ttl_s: float) -> None: ...

    def expected(self, session_id: str, tenant: str) -> None: ...

    def closed(self, session_id: str, tenant: str) -> None: ...
