"""People of a test: what they answer and decide, in order or by what they are asked."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from roost.execution.call import Outcome
from roost.waits import NO_RESULT, Approve, Ask, Question, Sleep, Spawn, Wait

# None: nobody answers in time.
Answers = Sequence[str | None] | Mapping[str, str | None] | Callable[[Question], str | None]
Approvals = Sequence[bool] | Mapping[str, bool] | Callable[[str], bool]
# What the agents that are given tasks answer, by their names.
Children = Mapping[str, str | Callable[[str], str]]
NO_ANSWER: Final = "no_answer"
STARTED: Final = "Started. Its answer will come as a message of its own."


class NobodyThere(Exception):
    """The test has no more answers: the wait stays open."""


class People:
    """Gives answers and verdicts; raises NobodyThere where the test has none.

    asked: every question and request so far, in order.
    """

    def __init__(
        self,
        answers: Answers = (),
        approvals: Approvals = (),
        children: Children | None = None,
    ) -> None:
        self._answers = answers
        self._approvals = approvals
        self._children = children or {}
        self._answered = 0
        self._decided = 0
        self.asked: list[str] = []

    def answers(self, wait: Ask) -> list[str] | None:
        """An answer to each question, None when nobody answers."""
        given = [self._answer(question) for question in wait.questions]
        self.asked += [question.text for question in wait.questions]
        answers = [answer for answer in given if answer is not None]
        return answers if len(answers) == len(given) else None

    def verdict(self, text: str) -> bool:
        """Whether somebody says yes. text: what is approved, or the name of a tool."""
        if callable(self._approvals):
            said = self._approvals(text)
        elif isinstance(self._approvals, Mapping):
            if text not in self._approvals:
                raise NobodyThere
            said = self._approvals[text]
        else:
            if self._decided >= len(self._approvals):
                raise NobodyThere
            said = self._approvals[self._decided]
            self._decided += 1
        self.asked.append(text)
        return said

    def child(self, order: Spawn) -> Outcome:
        """What becomes of a task; one for whose answer nobody waits is only begun."""
        answer = self._children.get(order.agent)
        if answer is None and order.wait:
            raise NobodyThere
        text = answer(order.task) if callable(answer) else answer
        if not order.wait:
            return Outcome("ok", STARTED)
        return Outcome("ok", text) if text and text.strip() else Outcome("error", NO_RESULT)

    def outcome(self, wait: Wait) -> Outcome:
        """The result of a wait that a tool returned, as the model reads it."""
        match wait:
            case Sleep():
                return Outcome("ok", "done")
            case Spawn():
                return self.child(wait)
            case Approve():
                return Outcome("ok", "approved" if self.verdict(wait.text) else "denied")
            case Ask():
                answers = self.answers(wait)
                if answers is None:
                    return Outcome("ok", NO_ANSWER)
                if len(answers) == 1:
                    return Outcome("ok", answers[0])
                texts = [question.text for question in wait.questions]
                pairs = dict(zip(texts, answers, strict=True))
                return Outcome("ok", json.dumps(pairs, ensure_ascii=False))

    def _answer(self, question: Question) -> str | None:
        if callable(self._answers):
            return self._answers(question)
        if isinstance(self._answers, Mapping):
            if question.text not in self._answers:
                raise NobodyThere
            return self._answers[question.text]
        if self._answered >= len(self._answers):
            raise NobodyThere
        self._answered += 1
        return self._answers[self._answered - 1]
