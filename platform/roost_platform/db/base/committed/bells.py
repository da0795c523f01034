"""Conversations to ring or to stop once the transaction that made work for them is committed."""

from collections.abc import Callable, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

_RINGS = "rings"
_STOPS = "stops"

# Gets the conversations to stop and those to ring. It must not block, and may lose some of them:
# the sweeper rings again.
Bell = Callable[[Sequence[str], Sequence[str]], None]


def ring_after(session: AsyncSession, conversation_id: str) -> None:
    """Have a conversation rung when the transaction commits."""
    session.info.setdefault(_RINGS, {})[conversation_id] = None


def stop_after(session: AsyncSession, conversation_id: str) -> None:
    """Have a conversation look for a recorded stop when the transaction commits."""
    session.info.setdefault(_STOPS, {})[conversation_id] = None


def ring_bells(session: AsyncSession, bell: Bell | None) -> None:
    """Ring for a transaction that has committed."""
    stops, rings = session.info.pop(_STOPS, {}), session.info.pop(_RINGS, {})
    if bell is not None and (stops or rings):
        bell(list(stops), list(rings))
