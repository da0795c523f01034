"""What a transaction did, as one line with ids in the log, once it is committed."""

import logging
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

log = logging.getLogger("roost.events")

_KEY = "told"


def tell(session: AsyncSession, event: str, **ids: Any) -> None:
    """Have a line written when the transaction commits. It carries ids, never what people wrote."""
    if log.isEnabledFor(logging.INFO):
        session.info.setdefault(_KEY, []).append((event, ids))


def write_lines(session: AsyncSession) -> None:
    """Write the lines of a transaction that has committed."""
    for event, ids in session.info.pop(_KEY, ()):
        log.info(event, extra=ids)
