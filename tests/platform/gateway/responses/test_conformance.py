"""llm-comply's suite of Open Responses passes as a whole, with no test left out and no warning."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import llm_comply
import pytest
from llm_comply.config import ComplianceConfig
from llm_comply.result import TestStatus as Status
from llm_comply.runner import TestRunner as Runner
from llm_comply.schema import SpecLoader
from llm_comply.tests.open_responses import OPEN_RESPONSES_TESTS
from tests.platform.gateway.responses.provider import FakeProvider, said

from roost_inference.http.listener import listening
from roost_platform.testing.gateway import gateway_server

# The suite asks only models that it knows for reasoning.
MODEL = "gpt-5-scripted"
SPEC = Path(str(llm_comply.__file__)).parent / "specs" / "openresponses.json"


def answer(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A call if there is a tool, words otherwise."""
    if not body.get("tools"):
        return said("One, two, three.")
    function = {"name": "get_weather", "arguments": '{"location": "San Francisco"}'}
    call = {"index": 0, "id": "call_1", "type": "function", "function": function}
    return said("", "tool_calls", tool_calls=[call])


# The suite uses a class that jsonschema is about to drop.
@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")
async def test_every_open_responses_test_passes(tmp_path: Path) -> None:
    async with listening(FakeProvider(answer)) as url:
        overrides = {
            "providers": {"fake": {"base_url": url}},
            "models": {MODEL: {"targets": ["fake/any"]}},
        }
        async with gateway_server(tmp_path, overrides=overrides) as gateway:
            config = ComplianceConfig(f"{gateway.url}/v1", gateway.secret, MODEL)
            runner = Runner(config, OPEN_RESPONSES_TESTS, SpecLoader(str(SPEC)))
            suite = await asyncio.to_thread(runner.run_all)
    faults = {
        result.id: [*result.errors, *result.warnings]
        for result in suite.results
        if result.status is not Status.PASSED or result.warnings
    }
    assert faults == {}
    assert len(suite.results) == 13
