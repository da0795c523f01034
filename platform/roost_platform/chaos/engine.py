"""The scripted engine with one rule: it answers each question with its word, as slowly as asked.

`python -m roost_platform.chaos.engine --port N` prints `ready` and serves until it is killed.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from roost_inference.http.listener import SignalServer, bind, url_of
from roost_inference.testing.scripted import ScriptedEngine
from roost_inference.testing.scripts import Call, Say, Step, text_of
from roost_platform.chaos.answers import answer, think_s, wanted


class ByWord(ScriptedEngine):
    """Answers everything that people wrote since the last answer."""

    def steps(self, body: Mapping[str, Any]) -> Sequence[Step]:
        """What the engine says to the messages of one request: a tool call, or the answer."""
        messages = [m for m in body.get("messages", ()) if isinstance(m, dict)]
        texts: list[str] = []
        called: list[str] = []
        for message in messages:
            calls = message.get("tool_calls") or ()
            if message.get("role") == "user":
                texts.append(text_of(message))
            elif message.get("role") == "assistant" and not calls:
                texts, called = [], []
            called += [str(call["function"]["arguments"]) for call in calls]
        if wanted_calls := wanted(texts, " ".join(called)):
            return [Call(one.tool, one.json) for one in wanted_calls]
        text = answer(texts)
        seconds = think_s(texts)
        return [Say(text, len(text.split()) / seconds if seconds else None)]


def main() -> int:
    """Serve until a signal ends the process; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m roost_platform.chaos.engine")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    options = parser.parse_args()
    listener = bind("127.0.0.1", options.port)
    print(f"ready {url_of(listener)}", flush=True)
    SignalServer(ByWord().app, catch_signals=True).run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
