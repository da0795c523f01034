"""Prompts that have nothing in common may share a session's id and do each other no harm."""

from collections.abc import Sequence

from roost_inference.prompt.exact_tokens import CONVERSATIONS_KEPT, SessionMemory
from roost_inference.request import EngineSession
from roost_inference.testing.harness import Collector, request, toy_engine
from roost_inference.wire.message import Message

SESSION = EngineSession("client")


def said(*texts: str, system: str = "You help.") -> list[Message]:
    roles = ("user", "assistant")
    talk = [Message(role=roles[n % 2], content=text) for n, text in enumerate(texts)]  # type: ignore[arg-type]
    return [Message(role="system", content=system), *talk]


def tokens(messages: Sequence[Message]) -> list[int]:
    return [byte for message in messages for byte in f"<{message.role}>{message.content}".encode()]


def turn(memory: SessionMemory, *texts: str, system: str = "You help.") -> int | None:
    """Take a turn; where its prompt diverged, if it did."""
    messages = said(*texts, system=system)
    prompt = tokens(messages)
    divergence = memory.compare(SESSION, prompt, lambda token: "", messages)
    memory.end_turn(SESSION, prompt, list(b"<assistant>ok"), messages)
    return divergence.at_token if divergence else None


def test_conversations_that_take_turns_under_one_id_are_no_divergence() -> None:
    memory = SessionMemory()
    talks = [[f"Question {name}"] for name in "abc"]
    for _ in range(5):
        for talk in talks:
            assert turn(memory, *talk) is None
            talk += ["ok", "Go on"]
    assert memory.divergences_total == memory.lost_tokens_total == 0


def test_a_title_asked_of_the_same_words_costs_the_conversation_nothing() -> None:
    memory = SessionMemory()
    talk = ["Fix my test, please"]
    for number in range(4):
        assert turn(memory, *talk) is None
        title = f"Name this, {number}: {talk[0]}"
        assert turn(memory, title, system="You write titles.") is None
        talk += ["ok", "Go on"]
    assert memory.divergences_total == 0


def test_a_system_message_that_changes_is_still_a_divergence() -> None:
    memory = SessionMemory()
    assert turn(memory, "Hello", system="It is 10:00.") is None
    assert turn(memory, "Hello", "ok", "Go on", system="It is 10:01.") is not None
    assert memory.divergences_total == 1
    assert memory.last_divergence(SESSION) is not None


def test_a_message_that_is_edited_is_still_a_divergence() -> None:
    memory = SessionMemory()
    turn(memory, "Hello", "ok", "What is Oslo?")
    assert turn(memory, "Hello", "ok", "What is Rome?") is not None


def test_the_conversations_of_an_id_are_bounded() -> None:
    memory = SessionMemory()
    for number in range(3 * CONVERSATIONS_KEPT):
        turn(memory, f"{number}{'x' * 100}", system=str(number) * 50)
    assert len(memory._histories[SESSION]) == CONVERSATIONS_KEPT == memory._histories_count
    memory.close(SESSION)
    assert memory._histories_count == 0 and not memory._histories


def test_unrelated_prompts_keep_each_others_cells() -> None:
    engine = toy_engine()
    prompts = ["a" * 60, "b" * 60]
    cached = []
    for _ in range(3):
        for number, prompt in enumerate(prompts):
            listener = Collector()
            engine.submit(request(prompt, 4, session_id="client"), listener)
            while engine.step():
                pass
            cached.append(listener.finish.usage.cached_tokens)
            prompts[number] = prompt + "c"
    assert cached[:2] == [0, 0]
    assert all(count >= 59 for count in cached[2:])
