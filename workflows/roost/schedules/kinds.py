"""What schedules do, and what becomes of times that were missed or that meet."""

from typing import Literal

# reminder: a text, without a model. task: a turn in the conversation. job: a turn in a
# conversation of its own. check: a job that says something only if there is something to say.
Kind = Literal["reminder", "task", "job", "check"]
# Of times that passed while nothing ran. late: the newest one, saying so; once: the newest one;
# skip: none; all: each of them, up to a bound.
Missed = Literal["late", "once", "skip", "all"]
# Of a time that comes while the one before is still worked on.
Overlap = Literal["skip", "queue"]
