"""llm-comply's suite for OpenAI's chat completions, each answer checked against the schema."""

import asyncio
import dataclasses
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from roost_inference.testing.scripts import Call
from roost_platform.testing.providers.gateway import gateway_server

# The suite has no types.
config: Any = import_module("llm_comply.config")
http: Any = import_module("llm_comply.http")
runner: Any = import_module("llm_comply.runner")
schema: Any = import_module("llm_comply.schema")
suite: Any = import_module("llm_comply.tests.openai_chat")

MODEL = "gpt-5"  # by such a name the suite knows that reasoning may be asked for
# No model in a request means the default model here, so the suite's faulty request is another one.
FAULTY = "chat-error-handling"
CASES = [
    case
    if case.id != FAULTY
    else dataclasses.replace(case, build_request=lambda config: {"model": MODEL, "messages": []})
    for case in suite.OPENAI_CHAT_TESTS
]
SPECIFICATION = files("llm_comply.specs") / "openai_chat.json"


@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")
async def test_the_conformance_suite_passes_without_a_warning_of_form(tmp_path: Path) -> None:
    overrides = {"models": {MODEL: {"targets": ["roost/scripted"]}}}
    async with gateway_server(tmp_path, overrides=overrides) as gateway:
        gateway.engine.when("weather", Call("get_weather", '{"location": "San Francisco"}'))
        where = config.ComplianceConfig(f"{gateway.url}/v1", gateway.secret, model=MODEL)
        spec = schema.SpecLoader(str(SPECIFICATION))

        def run() -> list[Any]:
            try:
                return list(runner.TestRunner(where, CASES, spec).run_all().results)
            finally:
                http.close_client()

        results = await asyncio.to_thread(run)
    assert len(results) == 9
    assert {result.id: result.errors for result in results if result.errors} == {}
    assert {result.status.value for result in results} == {"passed"}
    warnings = [warning for result in results for warning in result.warnings]
    assert [one for one in warnings if "reasoning_tokens" not in one] == []
