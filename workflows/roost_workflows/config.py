"""Settings of the worker process."""

from pydantic import BaseModel, ConfigDict, Field

from roost_workflows.names import TASK_QUEUE


class WorkerConfig(BaseModel):
    """How much one worker process takes on. The defaults suit one machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task_queue: str = Field(default=TASK_QUEUE, description="Temporal task queue to serve.")
    max_cached_workflows: int = Field(
        default=1000,
        ge=0,
        description="Open sessions kept in memory; others are replayed when they go on.",
    )
    max_concurrent_activities: int = Field(
        default=200, ge=2, description="Model calls and tool calls that run at the same time."
    )
    no_progress_s: float = Field(
        default=600.0,
        ge=1.0,
        description="A turn in which nothing happens for so many seconds, although a worker lives, "
        "is ended as failed.",
    )
    graceful_shutdown_s: float = Field(
        default=10.0,
        ge=0,
        description="How long running model and tool calls may finish after a stop, in seconds.",
    )
