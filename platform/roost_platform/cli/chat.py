"""`roost chat`: one message and its answer, or a conversation in the terminal."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from roost_platform.cli.api_client import ApiClient, ServerEvent
from roost_platform.errors import ApiRefused, NotReachable
from roost_platform.terminal import for_stream

RECONNECTS_MAX = 60
RECONNECT_S = 1.0
MESSAGES = ("answer", "notice", "error", "approval")
WAITING = "The agent waits. Answer with `roost chat`, or /stop ends the wait."
SILENCE_S = 45.0  # the server sends a ping every few seconds


@dataclass(slots=True)
class Exchange:
    """What one message led to. answers: (kind, text); times: seconds since it was sent.

    outcome: a code, empty if it is not known; reason: why no turn took the message, in words.
    """

    inbox_id: str = ""
    answers: list[tuple[str, str]] = field(default_factory=list)
    tools: list[str] = field(default_factory=list)
    first_text_s: float | None = None
    total_s: float = 0.0
    outcome: str = ""
    reason: str = ""

    @property
    def answered(self) -> bool:
        """Whether an answer or a notice came."""
        return any(kind in ("answer", "notice", "approval") for kind, _ in self.answers)

    @property
    def final(self) -> list[str]:
        """The answers; where there are none, all that was said. A notice before an answer, such as
        that it is late, is none.
        """
        answers = [text for kind, text in self.answers if kind == "answer"]
        return answers or [text for _, text in self.answers]

    @property
    def waits(self) -> bool:
        """Whether the agent waits for somebody or something now."""
        return self.outcome == "waiting"


def say_once(
    api: ApiClient, session: str, text: str, *, agent: str | None, as_json: bool, wait_s: float
) -> int:
    """Send one message and print only its answer to stdout; returns the exit code."""
    live = sys.stdout.isatty() and not as_json
    printer = _Printer() if live else None
    try:
        exchange = exchange_message(
            api, session, text, agent=agent, wait_s=wait_s, on_event=printer or _ignore
        )
    except KeyboardInterrupt:
        _stop(api, session)
        print("stopped", file=sys.stderr)
        return 130
    if as_json:
        told = _as_json(session, exchange)
        print(json.dumps(told, ensure_ascii=sys.stdout.isatty()))
    elif printer is None:
        for kind, answer in exchange.answers:
            is_final = answer in exchange.final and kind != "error"
            stream = sys.stdout if is_final else sys.stderr
            print(for_stream(answer, stream), file=stream)
    if exchange.waits and not as_json:
        print(f"roost: {WAITING}", file=sys.stderr)
    if not exchange.answered and not exchange.waits:
        if not exchange.answers:
            why = exchange.reason or exchange.outcome or "timeout"
            print(f"roost: no answer ({why})", file=sys.stderr)
        return 1
    return 0


def converse(api: ApiClient, session: str, *, agent: str | None, wait_s: float) -> int:
    """Read lines, print answers; Ctrl-C stops an answer, Ctrl-D ends."""
    print(f"Session {session!r}. /help lists the commands, Ctrl-D ends.", file=sys.stderr)
    while True:
        try:
            text = input("> ").strip()
        except EOFError:
            print()
            return 0
        except KeyboardInterrupt:
            print()
            return 0
        if not text:
            continue
        try:
            exchange_message(api, session, text, agent=agent, wait_s=wait_s, on_event=_Printer())
        except KeyboardInterrupt:
            _stop(api, session)
        except (NotReachable, ApiRefused) as error:
            print(for_stream(f"roost: {error}", sys.stderr), file=sys.stderr)


def exchange_message(
    api: ApiClient,
    session: str,
    text: str,
    *,
    agent: str | None,
    wait_s: float,
    on_event: Callable[[ServerEvent], None],
) -> Exchange:
    """Send a message and follow its events until it is settled, even if `web` restarts."""
    exchange = Exchange()
    began = time.monotonic()
    body = {"text": text} | ({"agent": agent} if agent else {})
    exchange.inbox_id = api.post(f"{_path(session)}/messages", body)["inbox_id"]
    for event in _follow(api, session, exchange.inbox_id, began + wait_s):
        if event.name in ("delta", "answer") and exchange.first_text_s is None:
            exchange.first_text_s = time.monotonic() - began
        if event.name in MESSAGES:
            exchange.answers.append((event.name, event.data["text"]))
        elif event.name == "tool":
            exchange.tools.append(event.data["line"])
        elif event.name == "done":
            exchange.outcome = event.data.get("outcome", "")
            exchange.reason = event.data.get("reason", "")
        on_event(event)
    exchange.total_s = time.monotonic() - began
    return exchange


def _follow(api: ApiClient, session: str, inbox_id: str, deadline: float) -> Iterator[ServerEvent]:
    """Events until `done`; after a lost connection it continues behind the last answer seen."""
    after = -1
    for _ in range(RECONNECTS_MAX):
        try:
            for event in api.events(
                f"{_path(session)}/events",
                silence_s=SILENCE_S,
                deadline=deadline,
                inbox=inbox_id,
                after=after,
            ):
                after = max(after, int(event.data.get("sequence", -1)))
                yield event
                if event.name == "done":
                    return
        except NotReachable:
            if deadline - RECONNECT_S < time.monotonic() < deadline:
                raise
        if time.monotonic() >= deadline:
            raise NotReachable("The answer takes longer than --timeout allows; the agent goes on.")
        time.sleep(RECONNECT_S)
    raise NotReachable("The connection was lost too often.")


class _Printer:
    """Prints an answer as it grows; a final text that differs from it is printed in full."""

    def __init__(self) -> None:
        self.shown = ""

    def __call__(self, event: ServerEvent) -> None:
        if event.name == "delta":
            if event.data.get("reset") and self.shown:
                print("\n", flush=True)
                self.shown = ""
            print(for_stream(event.data["text"]), end="", flush=True)
            self.shown += event.data["text"]
        elif event.name == "tool":
            print(for_stream(f"[{event.data['line']}]", sys.stderr), file=sys.stderr, flush=True)
        elif event.name in MESSAGES:
            self._final(event.data["text"])

    def _final(self, text: str) -> None:
        if text.startswith(self.shown):
            print(for_stream(text[len(self.shown) :]), flush=True)
        else:
            print(for_stream(f"\n{text}"), flush=True)
        self.shown = ""


def _ignore(_event: ServerEvent) -> None:
    return


def _stop(api: ApiClient, session: str) -> None:
    api.post(f"{_path(session)}/stop")


def _path(session: str) -> str:
    return f"/api/sessions/{quote(session, safe='')}"


def _as_json(session: str, exchange: Exchange) -> dict[str, Any]:
    return {
        "session": session,
        "inbox_id": exchange.inbox_id,
        "outcome": exchange.outcome,
        "waiting": exchange.waits,
        "answer": "\n\n".join(exchange.final),
        "messages": [{"kind": kind, "text": text} for kind, text in exchange.answers],
        "tools": exchange.tools,
        "first_text_s": round(exchange.first_text_s, 3) if exchange.first_text_s else None,
        "total_s": round(exchange.total_s, 3),
    }
