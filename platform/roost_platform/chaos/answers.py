"""The form of questions and of their answers, in the simulation and with real processes."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_QUESTION = re.compile(r"(w\d+) think=([\d.]+) fill=(\d+)( tool)?")


@dataclass(frozen=True, slots=True)
class Question:
    """What a message asks for. word: the word to answer with; think_s: how long the answer takes;
    fill: how many numbered words it adds; tool: a tool is to give it.
    """

    word: str
    think_s: float
    fill: int
    tool: bool

    def __str__(self) -> str:
        return f"{self.word} think={self.think_s} fill={self.fill}{' tool' if self.tool else ''}"


def questions(texts: Sequence[str]) -> Iterator[Question]:
    """Every question in these messages; prompts join messages, so one may hold several."""
    for text in texts:
        for word, think_s, fill, tool in _QUESTION.findall(text):
            yield Question(word, float(think_s), int(fill), bool(tool))


def think_s(texts: Sequence[str]) -> float:
    """The longest thinking time that these messages ask for, in seconds."""
    return max((question.think_s for question in questions(texts)), default=0.0)


def answer(texts: Sequence[str]) -> str:
    """The answer: the word of every question, then its numbered words, enough for several parts."""
    asked_questions = list(questions(texts))
    lines = [f"Answer to {', '.join(question.word for question in asked_questions)}."]
    for question in asked_questions:
        if question.fill:
            lines.append(" ".join(f"{question.word}.{n}" for n in range(1, question.fill + 1)))
    return "\n\n".join(lines)
