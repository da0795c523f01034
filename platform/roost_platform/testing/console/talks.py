"""Made-up conversations: a long one with everything in it, and a short one."""

# Arithmetic is written as people write it.
# ruff: noqa: RUF001

from typing import Any

from roost_platform.db import models
from roost_platform.testing.console.rows import (
    call_row,
    conversation,
    delivered,
    step_row,
    transcript_row,
    turn_row,
)

# What the engine reported of one of the calls.
ENGINE = {
    "divergence": {"at_token": 610, "lost_tokens": 137, "in": "messages[7] (assistant)"},
    "kv": {
        "decision": "load",
        "loaded_tokens": 512,
        "loaded_from": {"disk": 512},
        "load_ms": 3.4,
        "expected_load_ms": 3.1,
        "expected_recompute_ms": 305.6,
    },
    "speculative_decoding": {"num_draft_tokens": 64, "num_accepted_draft_tokens": 41},
}


async def long_talk(
    add: Any, channel: str, account: str, chat: str, person: str, now: float
) -> str:
    """Tools, a quote, a stopped turn, an operator's reply, and a turn that is running."""
    id, session = await conversation(add, channel, account, chat, person, 4, now - 6)
    first = turn_row(id, session, 1, "done", now - 900, 2.1)
    second = turn_row(id, session, 2, "done", now - 610, 3.4)
    third = turn_row(id, session, 3, "stopped", now - 300, 2.9)
    running = turn_row(id, session, 4, "running", now - 6, None)
    await add(first, second, third, running)
    await add(
        step_row(first, 1, now - 899.9, ttft=0.21, took=0.6, tokens=22, finish="tools"),
        step_row(first, 2, now - 899.1, ttft=0.08, took=0.9, tokens=58),
        step_row(second, 1, now - 609.9, ttft=0.19, took=3.1, tokens=171, engine=ENGINE),
        step_row(third, 1, now - 299.9, ttft=0.2, took=2.6, tokens=96, finish="stopped"),
        step_row(
            running, 1, now - 5.9, ttft=0.24, took=0.5, tokens=31, finish="tools", state="open"
        ),
    )
    await add(
        call_row(first, 1, "call-1", "calculator", '{"expression":"17 * 23"}', "pure", "ok", "391"),
        call_row(
            running,
            1,
            "call-2",
            "remember",
            '{"note":"Ada likes the museum quiet"}',
            "idempotent",
            "running",
            "",
        ),
    )
    quote = {
        "ref": "77",
        "author": "bot",
        "text": "17 × 23 is **391**.",
        "excerpt": "17 × 23 is 391",
        "is_manual": True,
        "resolved": True,
    }
    calls = [{"id": "call-1", "name": "calculator", "arguments": '{"expression":"17 * 23"}'}]
    await add(
        transcript_row(session, 0, "user", "Hello! What is 17 times 23?", now - 900),
        transcript_row(session, 1, "assistant", "", now - 899, turn_id=first.id, tool_calls=calls),
        transcript_row(
            session, 2, "tool", "391", now - 899, turn_id=first.id, tool_call_id="call-1"
        ),
        transcript_row(
            session,
            3,
            "assistant",
            "17 × 23 is **391**.\n\nA quick check: `20 × 23 − 3 × 23 = 460 − 69`.",
            now - 898,
            turn_id=first.id,
            completion_tokens=58,
        ),
        transcript_row(session, 4, "user", "Why minus 69?", now - 611, quoted=quote),
        transcript_row(
            session,
            5,
            "assistant",
            "Because 17 is 20 − 3:\n\n1. 20 × 23 = 460\n2. 3 × 23 = 69\n3. 460 − 69 = 391",
            now - 606,
            turn_id=second.id,
            completion_tokens=171,
        ),
        transcript_row(session, 6, "user", "Tell me everything about Paris.", now - 301),
        transcript_row(
            session,
            7,
            "assistant",
            "Paris is the capital of France. It lies on the Seine, and",
            now - 297,
            turn_id=third.id,
            note_kind="stopped",
            note="stopped by the user after 3 s",
        ),
        transcript_row(
            session,
            8,
            "operator",
            "The museum opens at ten; I checked with them.",
            now - 200,
            name="Grace Hopper",
        ),
        transcript_row(session, 9, "user", "Thanks! Remember that I like it quiet.", now - 6.2),
    )
    await add(
        models.RunProgress(
            turn_id=running.id,
            conversation_id=id,
            phase="answering",
            text="I'll remember that. The museum is quietest",
            tools=["remember"],
            updated_at=now,
        )
    )
    await delivered(add, id, channel, account, first.id, "answer", "17 × 23 is 391.", now - 898, 1)
    await delivered(add, id, channel, account, second.id, "answer", "Because 17…", now - 606, 2)
    await delivered(
        add, id, channel, account, third.id, "notice", "Stopped after 3 s: 0 done.", now - 297, 3
    )
    return id


async def short_talk(
    add: Any, channel: str, account: str, chat: str, person: str | None, now: float
) -> str:
    """One question and its answer; returns the conversation's id."""
    id, session = await conversation(add, channel, account, chat, person, 1, now - 1500)
    turn = turn_row(id, session, 1, "done", now - 1500, 1.4)
    await add(turn)
    await add(step_row(turn, 1, now - 1499.9, ttft=0.2, took=1.1, tokens=44))
    await add(
        transcript_row(session, 0, "user", "When are you open?", now - 1500),
        transcript_row(session, 1, "assistant", "Every day from ten.", now - 1498, turn_id=turn.id),
    )
    return id
