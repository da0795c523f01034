"""Token-exact sessions: generated answers keep their tokens, and divergences are reported.

Generated text that is tokenised again may give other tokens, and everything behind the first
difference has to be computed again. So an assistant message that equals a generated answer is
replaced by the answer's tokens. The same text may have been generated twice with other tokens, so
the message's place in the conversation counts; for a shortened history the newest answer is taken.
Where a session's prompt diverges from its last one nevertheless, the report names the message.
"""

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from roost_inference.batch import Tokens
from roost_inference.kv.match import common_prefix
from roost_inference.request import EngineSession
from roost_inference.wire.message import Message

ANSWERS_KEPT = 8192
ANSWER_TOKENS_KEPT = 2_000_000
HISTORIES_KEPT = 1024
# Conversations that clients keep under one session id; the platform keeps one.
CONVERSATIONS_KEPT = 4
THINKING_END = "</think>"

# A session and the digest of a message; with its place among the messages.
MessageKey = tuple[EngineSession, bytes]
AnswerKey = tuple[MessageKey, int]


@dataclass(frozen=True, slots=True)
class GeneratedAnswer:
    """An answer as generated: the whole text, markup of tool calls included, and its tokens."""

    text: str
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Divergence:
    """A prompt that has only the first `at_token` tokens of its session's last turn."""

    at_token: int
    lost_tokens: int
    section: str

    def report(self) -> dict[str, Any]:
        """The divergence as a response's metrics show it."""
        return {"at_token": self.at_token, "lost_tokens": self.lost_tokens, "in": self.section}


@dataclass(frozen=True, slots=True, eq=False)
class _History:
    """What a turn left in the KV, and the digests of what people and the assistant said in it."""

    tokens: Tokens
    said: frozenset[bytes]


class SessionMemory:
    """Answers and last prompts by session and salt; bounded, thread-safe."""

    def __init__(self) -> None:
        self.divergences_total = 0
        self.lost_tokens_total = 0
        self.spliced_total = 0
        self._lock = threading.Lock()
        self._answers: OrderedDict[AnswerKey, GeneratedAnswer] = OrderedDict()
        self._newest: dict[MessageKey, int] = {}
        self._answer_tokens = 0
        self._histories: OrderedDict[EngineSession, list[_History]] = OrderedDict()
        self._histories_count = 0
        self._last: dict[EngineSession, Divergence] = {}

    def remember(
        self,
        session: EngineSession,
        place: int,
        content: str,
        calls: Sequence[tuple[str, str]],
        answer: GeneratedAnswer,
    ) -> None:
        """Remember an answer: the message as the client saw it, how many messages stand before it,
        and what was generated."""
        if not answer.tokens or THINKING_END in answer.text:
            return  # templates cut thinking out of earlier turns
        message_key = (session, _digest(content, calls))
        with self._lock:
            self._forget((message_key, place))
            self._answers[message_key, place] = answer
            self._newest[message_key] = place
            self._answer_tokens += len(answer.tokens)
            while len(self._answers) > ANSWERS_KEPT or self._answer_tokens > ANSWER_TOKENS_KEPT:
                self._forget(next(iter(self._answers)))

    def _forget(self, key: AnswerKey) -> None:
        answer = self._answers.pop(key, None)
        message_key, place = key
        if self._newest.get(message_key) == place:
            del self._newest[message_key]
        self._answer_tokens -= len(answer.tokens) if answer else 0

    def recall(
        self, session: EngineSession, place: int, message: Message
    ) -> GeneratedAnswer | None:
        """The answer that was generated as this message with `place` messages before it, None if it
        was not."""
        if message.role != "assistant":
            return None
        calls = [(c.function.name, c.function.arguments) for c in message.tool_calls or ()]
        message_key = (session, _digest(message.content or "", calls))
        with self._lock:
            key = (message_key, place)
            if key not in self._answers:
                key = (message_key, self._newest.get(message_key, place))
            answer = self._answers.get(key)
            if answer is not None:
                self._answers.move_to_end(key)
                self.spliced_total += 1
            return answer

    def end_turn(
        self,
        session: EngineSession,
        prompt: Sequence[int],
        answer: list[int],
        messages: Sequence[Message] = (),
    ) -> None:
        """A turn of the session is over: its prompt and answer are what it leaves in the KV. It
        takes the place of the turn that it mostly goes on from."""
        said = _said(messages)
        history = _History(np.array([*prompt, *answer], np.int32), frozenset(said))
        with self._lock:
            kept = self._histories.setdefault(session, [])
            self._histories.move_to_end(session)
            shares = _shares(kept, history.tokens, said)
            shared, best = max(shares, key=lambda pair: pair[0], default=(0, None))
            if best is not None and 2 * shared >= len(best.tokens):
                kept.remove(best)
            elif len(kept) >= CONVERSATIONS_KEPT:
                del kept[0]
            else:
                self._histories_count += 1
            kept.append(history)
            while self._histories_count > HISTORIES_KEPT:
                self._drop_histories(next(iter(self._histories)))

    def compare(
        self,
        session: EngineSession,
        prompt: Sequence[int],
        section_at: Callable[[int], str],
        messages: Sequence[Message] = (),
    ) -> Divergence | None:
        """Where the session's new prompt diverges from its last turn; None if it continues it, or
        if it has nothing to do with any turn: clients give one id to several conversations."""
        with self._lock:
            kept = tuple(self._histories.get(session, ()))
        shares = _shares(kept, np.asarray(prompt, np.int32), _said(messages))
        if not shares:
            return None
        shared, history = max(shares, key=lambda pair: pair[0])
        # the last token written is not in the KV, so losing it costs nothing
        if any(shared >= len(each.tokens) - 1 for shared, each in shares):
            return None
        divergence = Divergence(shared, len(history.tokens) - shared, section_at(shared))
        with self._lock:
            self.divergences_total += 1
            self.lost_tokens_total += divergence.lost_tokens
            self._last[session] = divergence
        return divergence

    def _drop_histories(self, session: EngineSession) -> None:
        self._histories_count -= len(self._histories.pop(session, ()))
        self._last.pop(session, None)

    def last_divergence(self, session: EngineSession) -> dict[str, Any] | None:
        """The latest report of a session, by its salt and id."""
        with self._lock:
            divergence = self._last.get(session)
        return divergence.report() if divergence else None

    def close(self, session: EngineSession) -> None:
        """The session has ended: nothing of it is kept."""
        with self._lock:
            self._drop_histories(session)
            for key in [key for key in self._answers if key[0][0] == session]:
                self._forget(key)


def section_of(
    text: str,
    messages: Sequence[Message],
    count_tokens: Callable[[str], int],
    token: int,
) -> str:
    """The message that a token of the rendered prompt belongs to. Tokens before the first message
    belong to the template and the tools."""
    cursor = counted = 0
    section = "the tools or the template, before messages[0]"
    for number, message in enumerate(messages):
        start = text.find(message.content or "", cursor)
        if start < 0 or not message.content:
            continue
        counted += count_tokens(text[cursor:start])
        if counted > token:
            return section
        section = f"messages[{number}] ({message.role})"
        cursor = start
    return section


def _said(messages: Sequence[Message]) -> list[bytes]:
    """Digests of what people and the assistant said."""
    return [
        _digest(message.content, ())
        for message in messages
        if message.role in ("user", "assistant") and message.content
    ]


def _shares(
    histories: Sequence[_History], prompt: Tokens, said: Sequence[bytes]
) -> list[tuple[int, _History]]:
    """The turns of the prompt's own conversation, in which its first message was said, each with
    the tokens that the prompt has in common with it."""
    return [
        (common_prefix(each.tokens, prompt), each)
        for each in histories
        if not said or said[0] in each.said
    ]


def _digest(content: str, calls: Sequence[tuple[str, str]]) -> bytes:
    """Of a message's content and calls; outer whitespace and the form of JSON don't count."""
    plain = json.dumps([content.strip(), [[name, _canonical(args)] for name, args in calls]])
    return hashlib.blake2b(plain.encode(), digest_size=16).digest()


def _canonical(arguments: str) -> str:
    try:
        return json.dumps(json.loads(arguments or "{}"), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments
