"""What becomes of a model's answer before it is committed, and how engine errors are taken."""

import json
from datetime import timedelta

import pytest

from roost import Agent, ModelSettings, tool
from roost_inference.client.assembly import Completed, ToolCall
from roost_inference.errors import (
    BodyTooLarge,
    ContentRefused,
    EngineError,
    EngineFailed,
    EngineRefused,
    EngineUnavailable,
    InvalidRequest,
    PromptTooLong,
    QueueFull,
    UnknownModel,
)
from roost_workflows import policies
from roost_workflows.ports import TranscriptMessage, TurnContext, TurnRecord
from roost_workflows.reasons import FAILURE_REASONS
from roost_workflows.state import GenerateInput
from roost_workflows.turn.failures import engine_failure
from roost_workflows.turn.figures import NAME_CHARS_MAX, engine_figures
from roost_workflows.turn.planning import CALLS_PER_STEP_MAX, UNPARSED, call_id, plan_calls
from roost_workflows.turn.requests import (
    PRIORITY_BACKGROUND,
    PRIORITY_CONTINUATION,
    PRIORITY_TURN,
    build_request,
    warming_request,
)

CALL = GenerateInput("turn-1", 2, last=False)


@tool(effect="idempotent")
def book(place: str) -> str:
    """Book."""
    return place


AGENT = Agent("host", "Be kind.", tools=[book], model=ModelSettings(temperature=0.1, seed=7))


def completed(*calls: ToolCall, finish_reason: str = "tool_calls") -> Completed:
    return Completed("", calls, finish_reason, "model", "id", 1, 0, 1)


def test_call_ids_are_ours_stable_and_fit_the_strictest_engine() -> None:
    ids = [call_id(CALL, index) for index in range(50)]
    assert len(set(ids)) == 50
    assert all(len(one) == 9 and one.isalnum() for one in ids)
    assert call_id(CALL, 0) == call_id(GenerateInput("turn-1", 2, last=True), 0)
    assert call_id(GenerateInput("turn-1", 3, last=False), 0) not in ids


def test_effects_are_planned_with_the_call() -> None:
    planned = plan_calls(
        AGENT, CALL, completed(ToolCall("x", "book", '{"place":"Roma"}'), ToolCall("x", "fly", ""))
    )
    assert [(one.name, one.effect) for one in planned] == [("book", "idempotent"), ("fly", "pure")]
    assert [one.arguments for one in planned] == ['{"place": "Roma"}', "{}"]


@pytest.mark.parametrize(
    "arguments", ['{"place": "Ro', "[1, 2]", '"text"', '{"a":' * 5000 + "1" + "}" * 5000]
)
def test_arguments_that_are_no_object_stay_valid_json_and_are_refused_later(arguments: str) -> None:
    (planned,) = plan_calls(AGENT, CALL, completed(ToolCall("x", "book", arguments)))
    assert json.loads(planned.arguments) == {UNPARSED: arguments}


@pytest.mark.parametrize(
    "arguments",
    [
        json.dumps('{"place": "Roma"}'),
        '```json\n{"place": "Roma"}\n```',
        '```\n{"place": "Roma"}```',
        json.dumps('```json\n{"place": "Roma"}\n```'),
    ],
)
def test_arguments_in_a_string_or_a_code_block_are_read(arguments: str) -> None:
    (planned,) = plan_calls(AGENT, CALL, completed(ToolCall("x", "book", arguments)))
    assert json.loads(planned.arguments) == {"place": "Roma"}


def test_a_call_cut_off_by_the_token_limit_is_neither_run_nor_kept() -> None:
    cut = completed(
        ToolCall("a", "book", '{"place": "Roma"}'),
        ToolCall("b", "book", '{"place": "Ro'),
        finish_reason="length",
    )
    assert len(plan_calls(AGENT, CALL, cut)) == 1


def test_calls_of_one_step_are_bounded() -> None:
    many = completed(*(ToolCall(str(n), "book", "{}") for n in range(100)))
    assert len(plan_calls(AGENT, CALL, many)) == CALLS_PER_STEP_MAX


def context(*messages: TranscriptMessage) -> TurnContext:
    turn = TurnRecord("turn-1", "talk", "session-1", 1, "host", False)
    return TurnContext(turn, "ada", "Ada", "console", "key", "tenant-1", messages)


def test_requests_carry_settings_and_declare_tools_on_the_last_step_too() -> None:
    told = context(TranscriptMessage("user", "hi"))
    usual = build_request(AGENT, told, step=1, last=False, shorter=0)
    last = build_request(AGENT, told, step=8, last=True, shorter=0)
    assert (usual.priority, last.priority) == (PRIORITY_TURN, PRIORITY_CONTINUATION)
    assert (usual.temperature, usual.seed, usual.session_id) == (0.1, 7, "session-1")
    assert usual.cache_salt == "tenant-1"
    assert last.tools == usual.tools
    assert (usual.extra, last.extra) == ({}, {"tool_choice": "none"})
    assert last.messages[-1]["content"].startswith(usual.messages[-1]["content"])


def test_warming_asks_for_one_token_of_the_same_prefix_behind_everybody() -> None:
    told = context(TranscriptMessage("user", "hi"))
    usual = build_request(AGENT, told, step=1, last=False, shorter=0)
    warm = warming_request(AGENT, "tenant-1")
    assert (warm.messages[0], warm.tools) == (usual.messages[0], usual.tools)
    assert (warm.cache_salt, warm.session_id, warm.max_tokens) == ("tenant-1", None, 1)
    assert warm.priority == PRIORITY_BACKGROUND > PRIORITY_CONTINUATION > PRIORITY_TURN


def test_an_engines_figures_are_kept_small_and_without_content() -> None:
    told = {
        "queue_ms": 1.5,
        "first_token_ms": None,
        "divergence": {"at_token": 7, "lost_tokens": 3, "in": "messages[1] (user)" * 20},
        "kv": {"decision": "load", "loaded_from": {"ram": 64, "disk": "no"}, "text": "secret"},
        "speculative_decoding": {"num_draft_tokens": 4, "acceptance_histogram": [1, 2]},
        "surprise": {"text": "secret"},
    }
    kept = engine_figures(told)
    assert kept["queue_ms"] == 1.5
    assert kept["kv"] == {"decision": "load", "loaded_from": {"ram": 64}}
    assert kept["speculative_decoding"] == {"num_draft_tokens": 4}
    assert kept["divergence"]["at_token"] == 7
    assert len(kept["divergence"]["in"]) == NAME_CHARS_MAX
    assert "secret" not in json.dumps(kept)
    assert engine_figures({"kv": [1], "queue_ms": float("nan"), "divergence": {}}) == {}


@pytest.mark.parametrize(
    ("error", "attempt", "code", "is_final"),
    [
        (EngineUnavailable(), 30, "engine_unavailable", False),
        (EngineFailed(), 2, "engine_failed", False),
        (EngineFailed(), policies.ENGINE_FAILURES_MAX, "engine_failed", True),
        (PromptTooLong(), 1, "too_long", True),
        (BodyTooLarge(), 1, "too_long", True),
        (InvalidRequest(), 1, "refused", True),
        (EngineRefused(), 1, "engine_refused", True),
        (UnknownModel(), 1, "engine_refused", True),
        (ContentRefused(), 1, "content_refused", True),
        (EngineError("odd"), 1, "engine_failed", True),
    ],
)
def test_engine_errors_become_reasons_without_their_text(
    error: EngineError, attempt: int, code: str, is_final: bool
) -> None:
    failure = engine_failure(error, attempt)
    assert (failure.type, failure.message, failure.non_retryable) == (code, code, is_final)
    assert code in FAILURE_REASONS


def test_a_full_queue_is_tried_again_when_the_engine_says() -> None:
    failure = engine_failure(QueueFull(retry_after_s=7), 1)
    assert failure.next_retry_delay == timedelta(seconds=7)
    assert not failure.non_retryable


def test_a_quota_that_names_no_time_is_waited_for_as_long_as_an_outage() -> None:
    delays = [
        engine_failure(QueueFull(), attempt).next_retry_delay
        for attempt in range(1, policies.ENGINE_ATTEMPTS_MAX)
    ]
    assert delays[0] == timedelta(seconds=1)
    assert (
        timedelta(seconds=270) <= sum(filter(None, delays), timedelta()) <= timedelta(seconds=330)
    )


def test_an_engine_that_stays_away_is_given_up_after_about_five_minutes() -> None:
    retry = policies.GENERATE["retry_policy"]
    assert retry is not None and retry.maximum_interval is not None
    waited, interval = 0.0, retry.initial_interval.total_seconds()
    for _ in range(retry.maximum_attempts - 1):
        waited += interval
        interval = min(interval * 2, retry.maximum_interval.total_seconds())
    assert 270 <= waited <= 330
