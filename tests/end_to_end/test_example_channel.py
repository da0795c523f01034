"""`roost up --sandbox` with the example of docs/extending.md: one folder, one line."""

import os
import sys
from pathlib import Path

import httpx2

from roost_platform.testing import SOURCES, Process, Stack, eventually, free_port
from roost_platform.testing.processes import ROOT


def test_a_message_on_the_example_channel_is_answered_in_its_thread(tmp_path: Path) -> None:
    port = free_port()
    engine = Process(
        [sys.executable, "-m", "roost_inference.testing.scripted", "--port", str(port)],
        dict(os.environ) | {"PYTHONPATH": SOURCES},
    )
    stack = Stack(
        tmp_path / "data",
        {
            "ROOST_ENGINE__URL": f"http://127.0.0.1:{port}",
            "ROOST_ENGINE__MODEL_NAME": "scripted",
            "ROOST_CHANNELS": "relay.kind:KIND",
        },
        ["--sandbox"],
    )
    stack.env["PYTHONPATH"] = f"{SOURCES}:{ROOT / 'docs' / 'examples'}"
    engine.start()
    try:
        engine.wait_for("ready", 20)
        stack.start()
        with httpx2.Client(base_url=f"{relay_url(stack)}/sim/chats/ada", timeout=30) as phone:
            typed = {"text": "[[say:Good day, Ada.]]", "thread": "greetings"}
            phone.post("/messages", json=typed).raise_for_status()

            def answers() -> list[dict[str, str]]:
                shown = phone.get("").json()["messages"]
                return [message for message in shown if message["from"] == "roost"]

            [answer] = eventually("an answer", answers, within_s=40)
        assert (answer["text"], answer["thread"]) == ("Good day, Ada.", "greetings")
        assert answer["reply_to"] == ""  # right below its question it needs no quote
        sessions = stack.api("/api/sessions")
        assert "relay:roost:ada:greetings" in str(sessions)
    finally:
        stack.stop()
        engine.stop()


def relay_url(stack: Stack) -> str:
    """Where the fake listens, as `roost up` told its parts."""
    environment = Path(f"/proc/{stack.part('sandbox')}/environ").read_bytes().decode()
    settings = dict(line.partition("=")[::2] for line in environment.split("\0"))
    return settings["ROOST_RELAY__API_BASE"]
