"""Why a document can't be read."""

from typing import Literal

Problem = Literal[
    "",
    "encrypted",
    "no_text",
    "empty",
    "broken",
    "not_text",
    "old_word",
    "too_large",
    "too_slow",
    "encoding",
]


class Unreadable(Exception):
    """The document has no text that we can read; `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem
