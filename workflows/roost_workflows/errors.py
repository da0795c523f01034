"""What can go wrong around sessions, and the reasons a turn can fail for.

WorkflowsError
├── AgentsError      not retryable: agents can't be loaded as configured
└── DevServerError   not retryable: the Temporal server for one machine can't be started as asked
"""

from typing import Final


class WorkflowsError(Exception):
    """Sessions can't run."""


class AgentsError(WorkflowsError):
    """Agents can't be loaded."""


class DevServerError(WorkflowsError):
    """The Temporal server can't be started."""


# The reason travels through history as its code; the text is what the person in the chat reads.
FAILURES: Final = {
    "engine_unavailable": (
        "I can't reach the language model right now. Please try again in a few minutes."
    ),
    "engine_busy": "Too many requests are waiting right now. Please try again in a minute.",
    "engine_failed": "The language model failed on this request. Please try again.",
    "request_refused": "The language model refused this request. The operator can see why.",
    "prompt_too_long": (
        "This conversation no longer fits the language model. Send /new to start a fresh one."
    ),
    "agent_missing": "The agent of this conversation is not installed any more.",
    "steps_exhausted": "I used all my steps without coming to an answer. Please ask again.",
    "timeout": "The answer took too long. Please try again.",
    "internal": "Something went wrong on my side. Please try again.",
}
STOPPED: Final = "stopped by the user"


def reason_text(reason: str) -> str:
    """What to tell people about a reason code."""
    return FAILURES.get(reason, FAILURES["internal"])
