"""The form of questions and of their answers, in the simulation and with real processes."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from roost_inference.testing.scripts import text_of

# What a message may want done before it is answered; `many`: four calls at once.
DOES: Final = (
    *("tool", "pay", "send", "ask", "form", "nap", "child", "back", "flow"),
    *("remind", "every", "task", "job", "many"),
)
DEEP: Final = "deep"  # an agent that has another do it
# What children do, by their number; `child` is one level further down.
OF_CHILDREN: Final = ("", "pay", "ask", "nap", "send", "child", "flow")
# w: of people; c: of agents for other agents; k: of schedules.
_QUESTION = re.compile(rf"([wck]\d+) think=([\d.]+) fill=(\d+)(?: ({'|'.join((*DOES, DEEP))})\b)?")


# Follows an answer that a stop ended before its first word, in the text of the next message.
_STOPPED = "[The answer above was "
# A job's answer may come between a question and its calls.
_OF_JOB = re.compile(r"Answer to (k\d+)\.")


@dataclass(frozen=True, slots=True)
class Question:
    """What a message asks for. word: the word to answer with; think_s: how long the answer takes;
    fill: how many numbered words it adds; does: what is done before, one of DOES or nothing.
    """

    word: str
    think_s: float
    fill: int
    does: str = ""

    def __str__(self) -> str:
        words = f"{self.word} think={self.think_s} fill={self.fill}"
        return f"{words} {self.does}" if self.does else words


@dataclass(frozen=True, slots=True)
class Wanted:
    """A call of a tool that a question wants."""

    tool: str
    arguments: Mapping[str, Any]

    @property
    def json(self) -> str:
        """The arguments as canonical JSON."""
        return json.dumps(dict(self.arguments), sort_keys=True)


def questions(texts: Sequence[str]) -> Iterator[Question]:
    """Every question in these messages; prompts join messages, so one may hold several."""
    for text in texts:
        for word, think_s, fill, does in _QUESTION.findall(text):
            yield Question(word, float(think_s), int(fill), does)


def since_answer(messages: Sequence[Mapping[str, Any]]) -> tuple[list[str], str]:
    """What people wrote since the last answer, oldest first, and the arguments of the calls.

    messages: OpenAI's, of one request.
    """
    texts: list[str] = []
    called: list[str] = []
    for message in messages:
        calls = message.get("tool_calls") or ()
        text = text_of(message)
        if message.get("role") == "user":
            _, stopped, rest = text.rpartition(_STOPPED)
            if stopped:
                texts, called = [], []
            texts.append(rest)
        elif message.get("role") == "assistant" and not calls and not _is_between(text, texts):
            texts, called = [], []
        called += [str(call["function"]["arguments"]) for call in calls]
    return texts, " ".join(called)


def _is_between(text: str, texts: Sequence[str]) -> bool:
    of_job = _OF_JOB.match(text)
    return of_job is not None and all(one.word != of_job[1] for one in questions(texts))


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


def wanted(texts: Sequence[str], called: str) -> list[Wanted]:
    """The calls that these messages want and that were not made yet.

    called: the arguments of the calls since the last answer.
    """
    calls: list[Wanted] = []
    for question in questions(texts):
        mark = f"x{question.word}"
        if question.does and not re.search(rf"\b{mark}\b", called):
            calls += _calls(question, mark)
    return calls


def _calls(question: Question, mark: str) -> list[Wanted]:
    number = int(question.word[1:])
    match question.does:
        case "tool":
            return [Wanted("clock", {"mark": mark})]
        case "pay" | "send" | "ask" | "form" | "flow":
            return [Wanted(question.does, {"mark": mark})]
        case "nap":
            return [Wanted("nap", {"mark": mark, "seconds": 1 + number % 5})]
        case "deep":
            task = str(Question(f"c{number}", question.think_s, 0, "child"))
            return [Wanted("helper", {"task": task, "details": mark})]
        case "child" | "back":
            does = OF_CHILDREN[number % len(OF_CHILDREN)]
            if question.word.startswith("c") and does == "child":
                does = "nap"
            task = str(Question(f"c{number}", question.think_s, 0, does))
            name = "helper" if question.does == "child" else "background"
            return [Wanted(name, {"task": task, "details": mark})]
        case "remind":
            return [Wanted("remind", {"text": mark, "in_minutes": 1})]
        case "every":
            return [Wanted("remind", {"text": mark, "every_minutes": 1})]
        case "task" | "job":
            task = f"{Question(f'k{number}', question.think_s, 0)} {mark}"
            return [Wanted("schedule", {"task": task, "kind": question.does, "in_minutes": 1})]
        case "many":
            four = ("pay", "ask", "nap", "child")
            each = (Question(question.word, question.think_s, 0, does) for does in four)
            return [call for one in each for call in _calls(one, mark)]
    return []
