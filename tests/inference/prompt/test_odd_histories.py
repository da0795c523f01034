"""Every text of a history reaches the prompt, or the request is refused, or a warning names it."""

from typing import Any

import pytest
from tests.inference.prompt.test_families import ALL, NATIVE, WEATHER, called, made, result

from roost_inference.errors import InvalidRequest
from roost_inference.wire.parsing import parse_chat_call

ID = "call_0123456789"
RULE, NOTE = "Answer in rhymes.", "It is raining."


def said(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


ASKED, ANSWERED, MORE = said("user", "Hello."), said("assistant", "Hi."), said("user", "And now?")
SYSTEM = {
    "two at the start": [said("system", RULE), said("system", NOTE), ASKED],
    "one of a developer": [said("system", RULE), said("developer", NOTE), ASKED],
    "one in the middle": [said("system", RULE), ASKED, ANSWERED, said("system", NOTE), MORE],
    "one at the end": [said("system", RULE), ASKED, said("system", NOTE)],
    "nothing else": [said("system", RULE), said("system", NOTE)],
}


@ALL
@pytest.mark.parametrize("place", SYSTEM)
def test_all_system_messages_are_in_the_prompt_wherever_they_stand(name: str, place: str) -> None:
    text = made(name).render(parse_chat_call({"messages": SYSTEM[place]})).text
    for message in SYSTEM[place]:
        assert message["content"] in text


@pytest.mark.parametrize("name", NATIVE)
def test_what_is_said_beside_a_call_is_in_the_prompt_or_in_a_warning(name: str) -> None:
    call = {**called((ID, "Lisbon")), "content": "Let me look."}
    messages = [ASKED, call, result(ID, "Sun."), ANSWERED, MORE]
    request = parse_chat_call({"messages": messages, "tools": [WEATHER]})
    template = made(name)
    text = template.render(request).text
    assert "Lisbon" in text and "Sun." in text
    is_named = [warning.field for warning in template.unheeded(request)] == ["messages[].content"]
    assert is_named is ("Let me look." not in text)
    assert is_named is (name in ("mistral-nemo", "mistral-small-3.2"))


def test_a_tool_that_a_template_can_not_write_is_refused() -> None:
    parameters = {"type": "object", "properties": {"n": {"type": ["integer", "null"]}}}
    tool = {"type": "function", "function": {"name": "count", "parameters": parameters}}
    with pytest.raises(InvalidRequest, match="can't render"):
        made("hermes-3").render(parse_chat_call({"messages": [ASKED], "tools": [tool]}))
