"""llm-comply's suite for Anthropic's API passes against the gateway."""

import asyncio
from pathlib import Path
from typing import Any

import llm_comply
import pytest
from llm_comply.runner import TestRunner as Runner
from llm_comply.schema import SpecLoader
from llm_comply.tests import get_tests

from roost_inference.testing.scripts import Call, Say
from roost_platform.testing.providers.gateway import gateway_server

MODEL = "claude-sonnet-4-scripted"  # the suite asks a model of this name to think
SPEC = Path(llm_comply.__file__).parent / "specs" / "anthropic.json"


@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")
async def test_every_case_of_the_suite_passes(tmp_path: Path) -> None:
    models: dict[str, Any] = {MODEL: {"targets": ["roost/scripted"]}}
    async with gateway_server(tmp_path, overrides={"models": models}) as gateway:
        gateway.engine.when(lambda body: True, Say("one"))
        gateway.engine.when("weather", Call("get_weather", '{"location": "San Francisco"}'))
        gateway.engine.when("15 * 37", Say("<think>15 times 37 is 555.</think>555"))
        config = llm_comply.ComplianceConfig(
            base_url=f"{gateway.url}/v1", api_key=gateway.secret, model=MODEL
        )
        runner = Runner(config, get_tests("anthropic"), SpecLoader(str(SPEC)))
        suite = await asyncio.to_thread(runner.run_all)
    found = {result.id: (result.errors, result.warnings) for result in suite.results}
    assert suite.total == 9
    assert {id: problems for id, problems in found.items() if any(problems)} == {}
    assert suite.passed == 9
