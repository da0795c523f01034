"""What can go wrong around sessions; why turns fail is in reasons.FAILURE_REASONS.

WorkflowsError
├── AgentsError      not retryable: agents can't be loaded as configured
├── TurnOver         not retryable: the turn ended meanwhile, its late writer is fenced off
└── DevServerError   not retryable: the Temporal server for one machine can't be started as asked
"""


class WorkflowsError(Exception):
    """Sessions can't run."""


class AgentsError(WorkflowsError):
    """Agents can't be loaded."""


class TurnOver(WorkflowsError):
    """The turn is over."""


class DevServerError(WorkflowsError):
    """The Temporal server can't be started."""
