"""The words of each engine for what can go wrong, and what they mean to us."""

import json
from typing import Any

import pytest

from roost_inference.client.refusals import error_of, refusal
from roost_inference.errors import (
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

VLLM = (
    "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens "
    "(4000 in the messages, 1000 in the completion). Please reduce the length of the messages."
)
LLAMA = {
    "code": 400,
    "message": "request (9012 tokens) exceeds the available context size (8192 tokens)",
    "type": "exceed_context_size_error",
    "n_prompt_tokens": 9012,
    "n_ctx": 8192,
}
LM_STUDIO = (
    "Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded "
    "with context length of only 4096 tokens, which is not enough."
)
GEMINI = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
TGI = (
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. "
    "Given: 5000 `inputs` tokens and 512 `max_new_tokens`"
)
MISTRAL = (
    "Prompt contains 33000 tokens and 0 draft tokens, too large for model with 32768 maximum "
    "context length"
)
TENSORRT = (
    "default_max_tokens (-904) should be greater than 0, default_max_tokens (-904) = max_seq_len "
    "(8192) - splited_prompt_len (9096) - query_token_len (0)"
)
TENSORRT_SUM = (
    "The sum of prompt length (9000), query length (0) and max_tokens (100) should not exceed "
    "max_num_tokens (8192)"
)
RAW = {"error": {"message": "prompt is too long: 208310 tokens > 200000 maximum"}}
OPENROUTER = {"code": 400, "message": "Provider error", "metadata": {"raw": json.dumps(RAW)}}


def test_llama_server_gives_both_numbers_in_fields() -> None:
    error = refusal(400, {}, json.dumps({"error": LLAMA}).encode())
    assert isinstance(error, PromptTooLong)
    assert (error.prompt_tokens, error.limit_tokens) == (9012, 8192)
    assert error.code == "context_length_exceeded"  # not llama-server's own


@pytest.mark.parametrize(
    ("status", "body", "counts"),
    [
        (400, {"error": {"message": VLLM, "code": "context_length_exceeded"}}, (5000, 4096)),
        (400, {"object": "error", "message": VLLM, "code": 400}, (5000, 4096)),
        (400, {"error": VLLM}, (5000, 4096)),
        (400, {"type": "error", **RAW}, (208310, 200000)),
        (400, [{"error": {"code": 400, "message": GEMINI}}], (1200000, 1048576)),
        (422, {"error": TGI, "error_type": "validation"}, (5000, 4096)),
        (400, {"error": LM_STUDIO}, (5000, 4096)),
        (400, {"object": "error", "message": MISTRAL, "code": "3051"}, (33000, 32768)),
        (400, {"error": OPENROUTER}, (208310, 200000)),
        (400, {"object": "error", "message": TENSORRT, "code": 400}, (9096, 8192)),
        (400, {"object": "error", "message": TENSORRT_SUM, "code": 400}, (9000, 8192)),
        (
            500,
            {"error": {"code": 500, "message": "Context size has been exceeded."}},
            (None, None),
        ),
        (400, {"message": "Input is too long for requested model."}, (None, None)),
        (400, {"error": "input length exceeds maximum context length"}, (None, None)),
        (
            400,
            {"error": {"message": "Your request exceeded model token limit: 8192"}},
            (None, 8192),
        ),
        (413, {"error": {"type": "request_too_large", "message": "too large"}}, (None, None)),
        (
            429,
            {"error": {"message": "Request too large for gpt on tokens per min: Limit 30000, "
                                  "Requested 40000. The input must be reduced."}},
            (40000, 30000),
        ),
        (
            400,
            {"error": {"message": "the input token count is 40000 but model only supports up to "
                                  "32768."}},
            (40000, 32768),
        ),
        (400, {"error": {"message": "total tokens (9000) > max_seq_len (8192)"}}, (9000, 8192)),
        (422, {"error": "inputs must have less than 4095 tokens. Given: 5000"}, (5000, 4095)),
        (
            400,
            {"message": "The decoder prompt (length 5000) is longer than the maximum model length "
                        "of 4096."},
            (5000, 4096),
        ),
        (400, {"detail": "The prompt is longer than the context window"}, (None, None)),
    ],
)  # fmt: skip
def test_a_prompt_that_does_not_fit_is_understood_in_every_engines_words(
    status: int, body: Any, counts: tuple[int | None, int | None]
) -> None:
    error = refusal(status, {}, json.dumps(body).encode())
    assert isinstance(error, PromptTooLong), (error, type(error))
    assert (error.prompt_tokens, error.limit_tokens) == counts


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b'{"message": "Unauthorized"}', EngineRefused),
        (402, b'{"error": {"message": "Insufficient Balance"}}', EngineRefused),
        (403, b"<html><title>Forbidden</title></html>", EngineRefused),
        (400, b'[{"error": {"code": 400, "message": "API key not valid."}}]', EngineRefused),
        (400, b'{"error": {"message": "Your credit balance is too low"}}', EngineRefused),
        (429, b'{"error": {"code": "insufficient_quota", "message": "plan"}}', EngineRefused),
        (301, b"", EngineRefused),
        (404, b'{"error": "model \\"x\\" not found, try pulling it first"}', UnknownModel),
        (400, b'{"error": {"message": "Model Not Exist"}}', UnknownModel),
        (400, b'{"error": {"message": "foo/bar is not a valid model ID"}}', UnknownModel),
        (404, b'{"error": {"code": "DeploymentNotFound", "message": "no"}}', UnknownModel),
        (400, b'{"error": {"code": "content_filter", "message": "no"}}', ContentRefused),
        (403, b'{"error": {"message": "your input was flagged"}}', ContentRefused),
        (429, b'{"error": {"message": "Rate limit: Limit 9, Used 8, Requested 3"}}', QueueFull),
        (529, b'{"error": {"type": "overloaded_error", "message": "busy"}}', QueueFull),
        (522, b"<html>Cloudflare</html>", EngineUnavailable),
        (400, b'{"error": {"message": "max_tokens is too large: 9000"}}', InvalidRequest),
        (400, b'{"error": {"message": "max_tokens exceeds 4096"}}', InvalidRequest),
        (500, b'{"error": {"message": "oops"}}', EngineFailed),
    ],
)
def test_a_refusal_is_told_by_whose_fault_it_is(
    status: int, body: bytes, kind: type[EngineError]
) -> None:
    error = refusal(status, {}, body)
    assert type(error) is kind, error
    assert error.answered_status == status


def test_retry_after_may_be_milliseconds_or_a_date() -> None:
    def waits(**headers: str) -> float:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        error = refusal(429, named, b"{}")
        assert isinstance(error, QueueFull)
        return error.retry_after_s

    assert waits(retry_after="7") == 7
    assert waits(retry_after_ms="2500") == 2.5
    assert waits(retry_after="Wed, 21 Oct 2099 07:28:00 GMT") == 300
    assert waits(retry_after="soon") == 1
    assert waits(retry_after="-3") == 1
    assert waits() == 1


def test_a_quota_that_refills_is_waited_for() -> None:
    body = b'{"error": {"code": "insufficient_quota", "message": "quota"}}'
    assert isinstance(refusal(429, {"retry-after": "9"}, body), QueueFull)


def test_an_error_inside_a_stream_has_the_same_meanings() -> None:
    assert isinstance(error_of({"error": LLAMA}), PromptTooLong)
    assert isinstance(error_of({"error": {"code": 401, "message": "who"}}), EngineRefused)
    assert isinstance(error_of({"message": "broken"}, is_event_error=True), EngineFailed)
    assert error_of({"choices": []}) is None
    assert error_of({"error": None, "choices": []}) is None


@pytest.mark.parametrize(
    ("status", "message", "counts"),
    [
        (400, "Vertex request uses 256984 input tokens; limit is 167232.", (256984, 167232)),
        (400, "Your prompt is 9000 tokens, over the 8000 allowed", (9000, 8000)),
        (400, "Prompt exceeds the available cache size 8192", (None, 8192)),
        (400, "<400> InternalError: Range of input length should be [1, 129024]", (None, 129024)),
        (400, "prompt too long; exceeded max context length by 300 tokens", (None, None)),
        (400, "invalid params, context window exceeds limit (2013)", (None, None)),
        (400, "输入长度超过模型上下文限制", (None, None)),
        (400, "Prompt 超长", (None, None)),
    ],
)
def test_numbers_that_are_no_size_of_the_prompt_are_not_taken_for_one(
    status: int, message: str, counts: tuple[int | None, int | None]
) -> None:
    error = refusal(status, {}, json.dumps({"error": {"message": message}}).encode())
    assert isinstance(error, PromptTooLong)
    assert (error.prompt_tokens, error.limit_tokens) == counts


RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37s"}


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        ({"message": "quota", "details": [{"@type": "x"}, RETRY_INFO]}, 37.0),
        ({"message": "Rate limit. Please retry after 12 seconds."}, 12.0),
        ({"message": "Limit reached. Please try again in 1m5.5s. Visit x"}, 65.5),
        ({"message": "Please try again in 320ms."}, 0.32),
        ({"message": "try again in 40m"}, 300.0),
        ({"message": "Please try again later with 5 shots"}, 1.0),
        ({"message": "slow down", "details": "5s"}, 1.0),
    ],
)
def test_a_wait_is_read_of_the_body_where_no_header_tells_it(
    error: dict[str, Any], seconds: float
) -> None:
    found = refusal(429, {}, json.dumps({"error": error}).encode())
    assert isinstance(found, QueueFull)
    assert found.retry_after_s == pytest.approx(seconds)


@pytest.mark.parametrize(
    "message", ["library/x does not support tools", '"auto" tool choice requires --enable-auto']
)
def test_an_engine_without_tools_is_the_operators_matter(message: str) -> None:
    assert isinstance(refusal(400, {}, json.dumps({"error": message}).encode()), UnknownModel)
