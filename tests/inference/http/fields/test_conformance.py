"""llm-comply's suite of OpenAI's chats passes, but for what a model of texts can't do."""

import asyncio
from pathlib import Path

import llm_comply
import pytest
from llm_comply.config import ComplianceConfig
from llm_comply.result import TestStatus as Status
from llm_comply.runner import TestRunner as Runner
from llm_comply.schema import SpecLoader
from llm_comply.tests.openai_chat import OPENAI_CHAT_TESTS

from roost_inference.http.listener import listening
from roost_inference.request import Listener, Request
from roost_inference.server import build_server
from roost_inference.testing.puppet import PuppetEngine

SPEC = Path(str(llm_comply.__file__)).parent / "specs" / "openai_chat.json"
# The model reads text only, does not reason, and need not be named: there is only one.
EXPECTED = {
    "chat-image-input": "HTTP 400",
    "chat-reasoning-summary": "reasoning requires",
    "chat-error-handling": "HTTP 200",
}
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"location": "Rome"}}\n</tool_call>'


class Obedient(PuppetEngine):
    """Calls the tool that it has to call, and says a few words otherwise."""

    def submit(self, request: Request, listener: Listener) -> None:
        """Take a request and answer it."""
        self.answer = "One, two, three." if request.grammar is None else CALL
        super().submit(request, listener)


# The suite uses a class that jsonschema is about to drop.
@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")
async def test_every_case_of_the_suite_passes_that_a_text_model_can() -> None:
    async with listening(build_server(Obedient())) as url:
        config = ComplianceConfig(f"{url}/v1", "none", "puppet")
        runner = Runner(config, OPENAI_CHAT_TESTS, SpecLoader(str(SPEC)))
        suite = await asyncio.to_thread(runner.run_all)
    faults = {
        result.id: [*result.errors, *result.warnings]
        for result in suite.results
        if result.status is not Status.PASSED or result.warnings
    }
    assert len(suite.results) == 9
    assert faults.keys() == EXPECTED.keys(), faults
    for id, problem in EXPECTED.items():
        assert problem in faults[id][0], faults
