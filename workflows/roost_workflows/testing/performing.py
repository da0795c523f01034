"""Running an activity as a worker does, without Temporal."""

from collections.abc import Callable
from typing import Any

from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment


class ActivityFailed(Exception):
    """An activity ended in an error that no further attempt mends. reason: a code of reasons.py."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


async def perform(activity: Callable[[Any], Any], argument: object) -> Any:
    """The result of one attempt. Raises ActivityFailed; any other error may be tried again."""
    try:
        return await ActivityEnvironment().run(activity, argument)
    except ApplicationError as error:
        if not error.non_retryable:
            raise
        raise ActivityFailed(error.type or "internal") from None
