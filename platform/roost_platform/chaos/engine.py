"""The scripted engine with one rule: it answers each question with its word, as slowly as asked.

`python -m roost_platform.chaos.engine --port N` prints `ready` and serves until it is killed.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from roost_inference.http.listener import SignalServer, bind, url_of
from roost_inference.testing.scripted import ScriptedEngine
from roost_inference.testing.scripts import Call, Say, Step
from roost_platform.chaos.answers import answer, since_answer, think_s, wanted


class ByWord(ScriptedEngine):
    """Answers everything that people wrote since the last answer."""

    def steps(self, body: Mapping[str, Any]) -> Sequence[Step]:
        """What the engine says to the messages of one request: a tool call, or the answer."""
        messages = [m for m in body.get("messages", ()) if isinstance(m, dict)]
        texts, called = since_answer(messages)
        # A turn's last step allows no calls.
        calls = [] if body.get("tool_choice") == "none" else wanted(texts, called)
        if calls:
            return [Call(one.tool, one.json) for one in calls]
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
