"""How long each activity may take and how often it is tried, with the reasons."""

from datetime import timedelta
from typing import Final

from temporalio.common import Priority, RetryPolicy
from temporalio.workflow import ActivityCancellationType, ActivityConfig, LocalActivityConfig

# A dead worker is noticed after this time. Activities beat every HEARTBEAT_EVERY_S, and the worker
# sends one every 500 ms at most, so ten may get lost before a live worker counts as dead.
HEARTBEAT_TIMEOUT_S: Final = 5
HEARTBEAT_EVERY_S: Final = 0.5

# One attempt at a model call: enough for a very long answer on a slow machine.
GENERATE_TIMEOUT_S: Final = 30 * 60
# Back-off 0.5, 1, 2, 4, 8, then 10 s: an engine that stays away for about five minutes fails the
# turn.
ENGINE_ATTEMPTS_MAX: Final = 34
ENGINE_RETRY_S: Final = 0.5
ENGINE_RETRY_MAX_S: Final = 10.0
# The engine failed on this very request: more attempts would take it down for everybody.
ENGINE_FAILURES_MAX: Final = 3

# A fault of code, ours or an agent's, ends the turn after so many attempts.
INTERNAL_FAILURES_MAX: Final = 3

# A tool has its own time limit, at most an hour; this one bounds what hangs beyond it.
TOOL_TIMEOUT_S: Final = 3600 + 120
# So many workers may die on a call. Storage counts the same attempts and settles the last one.
TOOL_ATTEMPTS_MAX: Final = 4

# Deaths of workers that were computing for one turn before that turn is given up. A call that only
# waited when its worker died is not counted here (suspects.py).
WORKER_DEATHS_MAX: Final = 2
# Turns that are noted at once: the one of the event loop, and those that compute in threads.
SUSPECTS_MAX: Final = 64

# Storage that does not answer: short attempts for an hour, then the run fails and the sweeper
# opens another.
CONTROL_TIMEOUT_S: Final = 10
CONTROL_TOTAL_S: Final = 3600

_WAIT = ActivityCancellationType.WAIT_CANCELLATION_COMPLETED

GENERATE: Final = ActivityConfig(
    start_to_close_timeout=timedelta(seconds=GENERATE_TIMEOUT_S),
    heartbeat_timeout=timedelta(seconds=HEARTBEAT_TIMEOUT_S),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(seconds=ENGINE_RETRY_S),
        maximum_interval=timedelta(seconds=ENGINE_RETRY_MAX_S),
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

# Beginning and settling a turn are short transactions. As local activities they need neither the
# task queue nor a workflow task of their own, which make up half of the time that the platform adds
# to an answer, and half of the wait of a stop where many stop at once.
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
