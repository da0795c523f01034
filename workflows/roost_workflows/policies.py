"""How long each activity may take and how often it is tried, with the reasons."""

from datetime import timedelta
from typing import Final

from temporalio.common import Priority, RetryPolicy
from temporalio.workflow import ActivityCancellationType, ActivityConfig, LocalActivityConfig

# A worker that died is noticed after this. Activities beat every HEARTBEAT_EVERY_S, and the worker
# passes on a beat every 500 ms at most, so ten may be lost before a live one is taken for dead.
HEARTBEAT_TIMEOUT_S: Final = 5
HEARTBEAT_EVERY_S: Final = 0.5

# One attempt at a model call: a slow machine writing a very long answer still ends in this.
GENERATE_TIMEOUT_S: Final = 30 * 60
# Back-off 0.5, 1, 2, 4, 8, then 10 s: an engine that stays away for about five minutes fails the
# turn.
ENGINE_ATTEMPTS_MAX: Final = 34
# The engine itself failed on this very request: more tries would take it down for everybody.
ENGINE_FAILURES_MAX: Final = 3

# A tool ends by its own time-out, at most an hour; this only bounds what hangs beyond that.
TOOL_TIMEOUT_S: Final = 3600 + 120
# Lost workers before a call is given up. Storage counts the same attempts and settles the last one.
TOOL_ATTEMPTS_MAX: Final = 4

# Deaths of workers that were computing for one turn before that turn is given up. A call that only
# waited when its worker died is not counted here (suspects.py).
WORKER_DEATHS_MAX: Final = 2
# Turns that are noted at once: the one of the event loop, and those that compute in threads.
SUSPECTS_MAX: Final = 64

# Storage that stays away: short tries for an hour, then the run fails and the sweeper opens
# another.
CONTROL_TIMEOUT_S: Final = 10
CONTROL_TOTAL_S: Final = 3600

_WAIT = ActivityCancellationType.WAIT_CANCELLATION_COMPLETED

GENERATE: Final = ActivityConfig(
    start_to_close_timeout=timedelta(seconds=GENERATE_TIMEOUT_S),
    heartbeat_timeout=timedelta(seconds=HEARTBEAT_TIMEOUT_S),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(milliseconds=500),
        maximum_interval=timedelta(seconds=10),
        maximum_attempts=ENGINE_ATTEMPTS_MAX,
    ),
    # A stop waits for the activity to keep its partial text.
    cancellation_type=_WAIT,
)

CALL_TOOL: Final = ActivityConfig(
    start_to_close_timeout=timedelta(seconds=TOOL_TIMEOUT_S),
    heartbeat_timeout=timedelta(seconds=HEARTBEAT_TIMEOUT_S),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(milliseconds=200),
        maximum_interval=timedelta(seconds=5),
        # Storage settles attempt TOOL_ATTEMPTS_MAX + 1; attempts that never reached it need room: a
        # frozen worker takes up one every six seconds or so until it is killed.
        maximum_attempts=10 * TOOL_ATTEMPTS_MAX,
    ),
    cancellation_type=_WAIT,
)

CONTROL: Final = ActivityConfig(
    start_to_close_timeout=timedelta(seconds=CONTROL_TIMEOUT_S),
    schedule_to_close_timeout=timedelta(seconds=CONTROL_TOTAL_S),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=5)
    ),
    cancellation_type=_WAIT,
    # Before model and tool calls of other sessions: a stop must not queue behind them.
    priority=Priority(priority_key=1),
)

# Looking for the next turn and settling one are each a short transaction: in the worker itself it
# costs neither the task queue nor a workflow task of its own, which are half of what the platform
# adds to an answer, and of what a stop waits for where many stop at once.
SHORT: Final = LocalActivityConfig(
    start_to_close_timeout=timedelta(seconds=CONTROL_TIMEOUT_S),
    schedule_to_close_timeout=timedelta(seconds=CONTROL_TOTAL_S),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=5)
    ),
)

# A local activity has slots of its own, so reading a recorded stop never waits for a free worker
# slot. Its tries end with the turn that waits for them.
STOP_CHECK: Final = LocalActivityConfig(
    start_to_close_timeout=timedelta(seconds=CONTROL_TIMEOUT_S),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(milliseconds=100), maximum_interval=timedelta(seconds=1)
    ),
)
