"""Why turns fail, and which limits end them: codes, which endings.py puts into words."""

from typing import Final

FAILURE_REASONS: Final = (
    "engine_unavailable",  # not reached for as long as its retries last
    "engine_failed",  # failed on this request again and again
    "queue_full",
    "refused",  # the request was not valid for this engine
    "engine_refused",  # the engine refuses our key, account, model or address
    "content_refused",  # the engine's provider refuses what was said
    "too_long",  # no part of the conversation fits the model
    "too_many_steps",
    "out_of_time",  # the turn worked for longer than its agent allows
    "no_progress",  # nothing happened in the turn for a long time, or it began again and again
    "unknown_agent",
    "flow_failed",  # the flow's function raised an error
    "flow_edited",  # its code does not fit what it did before
    "flow_input",  # the task that it was given is not the input that it takes
    "flow_unanswered",  # it can't go on without an answer that nobody gave
    "worker_died",  # the workers that computed for this turn froze or died, again and again
    "timeout",
    "internal",
)


# Limits that end a turn with an answer: tools are withheld, and people are told.
LIMIT_REASONS: Final = (
    "too_many_steps",
    "too_many_calls",
    "too_many_tokens",
    "repeated_calls",
    "budget_spent",  # of all agents that work for one turn together
)
