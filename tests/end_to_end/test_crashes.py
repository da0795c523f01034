"""Nothing accepted is lost and nothing comes twice, whatever dies in the middle of an answer."""

import itertools
import time

import httpx2
import pytest

from roost_platform.testing import World, eventually

_chats = itertools.count(8001)


def _generated(url: str) -> int:
    return int(httpx2.get(f"{url}/health", timeout=5).json()["completion_tokens_total"])


def _running(url: str) -> int:
    return int(httpx2.get(f"{url}/health", timeout=5).json()["running"])


@pytest.mark.parametrize("part", ["worker", "courier", "web", "temporal"])
def test_killing_a_part_in_the_middle_of_an_answer_leaves_exactly_one_answer(
    scripted: World, part: str
) -> None:
    chat = next(_chats)
    phone = scripted.phones.telegram
    asked = phone.say(chat, "[[slow:60]]")  # three seconds of tokens
    time.sleep(1.0)
    scripted.stack.kill(part)
    phone.answer(chat, asked, within_s=60)
    time.sleep(3.0)
    answers = phone.bot_messages(chat, after=asked)
    assert len(answers) == 1, answers
    eventually(f"{part} again", lambda: _alive(scripted, part))


def _alive(world: World, part: str) -> bool:
    try:
        return bool(world.stack.part(part))
    except AssertionError:
        return False


def test_killing_the_engine_in_the_middle_of_an_answer_leaves_exactly_one_answer(
    real: World,
) -> None:
    chat = next(_chats)
    phone = real.phones.telegram
    asked = phone.say(chat, "Tell me a long story about a heron.")
    eventually("the engine to run", lambda: _running(real.stack.engine_url()) > 0)
    real.stack.kill("engine")
    phone.answer(chat, asked, within_s=90)
    time.sleep(2.0)
    assert len(phone.bot_messages(chat, after=asked)) == 1


STOP_TRIES_MAX = 6  # the small model may finish a "very long" story before it can be stopped


def test_stop_frees_the_engine_and_keeps_the_partial_answer(real: World) -> None:
    chat, stopped_after_s = next(
        found for found in (_stop_a_story(real) for _ in range(STOP_TRIES_MAX)) if found
    )
    assert stopped_after_s < 5
    eventually("no sequence running", lambda: _running(real.stack.engine_url()) == 0, within_s=2)
    session = real.stack.api(f"/api/sessions/telegram:4242:{chat}")
    partial = [m for m in session["transcript"] if m["role"] == "assistant"]
    assert partial and partial[-1]["content"].strip()


def _stop_a_story(world: World) -> tuple[int, float] | None:
    """Ask for a story and stop it: the chat and the seconds until seen, None if it was over."""
    chat = next(_chats)
    phone = world.phones.telegram
    asked = phone.say(
        chat, "Write a very long story about a lighthouse keeper, with many chapters."
    )
    before = _generated(world.stack.engine_url())
    eventually("the story to begin", lambda: _generated(world.stack.engine_url()) > before + 10)
    began = time.monotonic()
    phone.say(chat, "/stop")
    stopped = phone.answer(chat, asked, within_s=10)
    return (chat, time.monotonic() - began) if "Stopped after" in stopped["text"] else None


def test_a_conversation_goes_on_after_everything_was_stopped_and_started(real: World) -> None:
    first = real.stack.cli("chat", "-m", "Hello, who are you?", "--session", "restart")
    assert first.returncode == 0 and first.stdout.strip(), first.stderr
    real.stack.stop()
    real.stack.start()
    second = real.stack.cli("chat", "-m", "What did I ask you first?", "--session", "restart")
    assert second.returncode == 0 and second.stdout.strip(), second.stderr
    session = real.stack.api("/api/sessions/console:local:restart")
    users = [m["content"] for m in session["transcript"] if m["role"] == "user"]
    assert users == ["Hello, who are you?", "What did I ask you first?"]


def test_a_message_that_ends_the_worker_twice_is_given_up_and_told(scripted: World) -> None:
    asked = "[[tool:kill_worker {}]]"
    said = scripted.stack.cli("chat", "-m", asked, "--session", "fatal", "--agent", "fatal")
    assert "I gave up on it" in said.stdout + said.stderr
    session = scripted.stack.api("/api/sessions/console:local:fatal")
    assert any("worker_died" in str(message) for message in session["transcript"])
    log = (scripted.stack.data / "logs" / "worker.log").read_text()
    assert "is given up: 2 workers died of it" in log
    after = scripted.stack.cli("chat", "-m", "hello", "--session", "fatal", "--agent", "fatal")
    assert after.returncode == 0 and after.stdout.strip(), after.stderr
