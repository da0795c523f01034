"""Real templates of many families give the prompts that their models know."""

from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from roost_inference.prompt import chat_template
from roost_inference.prompt.chat_template import ChatTemplate
from roost_inference.prompt.families.table import OTHER, family_of
from roost_inference.testing.puppet import PuppetEngine
from roost_inference.wire.parsing import parse_chat_call

FOLDER = Path(__file__).parent / "templates"
# By template: its family, and whether it declares tools itself.
TEMPLATES = {
    "deepseek-r1-distill": ("other", False),
    "deepseek-r1-tools": ("deepseek-r1", True),
    "deepseek-v3.1": ("deepseek-v3.1", True),
    "gemma-2": ("other", False),
    "gemma-3": ("other", False),
    "gemma-4": ("gemma-4", True),
    "gpt-oss": ("gpt-oss", True),
    "hermes-3": ("hermes", True),
    "llama-3.1": ("llama-3", True),
    "llama-3.2": ("llama-3", True),
    "ministral-3": ("mistral", True),
    "mistral-nemo": ("mistral-list", True),
    "mistral-small-3.2": ("mistral-id", True),
    "nemotron-3": ("qwen-coder", True),
    "qwen2.5": ("hermes", True),
    "qwen3": ("hermes", True),
    "qwen3-coder": ("qwen-coder", True),
    "qwen3.5": ("qwen-xml", True),
}
ALL = pytest.mark.parametrize("name", TEMPLATES)
NATIVE = [name for name, (_, takes_tools) in TEMPLATES.items() if takes_tools]

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a place.",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string", "description": "A city."}},
            "required": ["place"],
        },
    },
}


def called(*calls: tuple[str, str]) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": id,
                "type": "function",
                "function": {"name": "weather", "arguments": f'{{"place": "{place}"}}'},
            }
            for id, place in calls
        ],
    }


def result(id: str, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content}


CONVERSATION: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "How is Lisbon?"},
    called(("call_0123456789", "Lisbon")),
    result("call_0123456789", "Sun, 24 degrees."),
    {"role": "assistant", "content": "Sunny."},
    {"role": "user", "content": "And Porto?"},
]


@pytest.fixture(autouse=True)
def a_fixed_day(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fixed(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Fixed":
            return cls(2026, 11, 29)

    monkeypatch.setattr(chat_template, "datetime", Fixed)


def source(name: str) -> str:
    return (FOLDER / f"{name}.jinja").read_text("utf-8")


def made(name: str) -> ChatTemplate:
    puppet = PuppetEngine()
    return ChatTemplate(
        source(name),
        bos="<s>",
        eos="</s>",
        tokenize=lambda text, special: puppet.tokenize(text, special=special),
    )


def rendered(name: str, messages: list[dict[str, Any]], *tools: dict[str, Any]) -> str:
    call = parse_chat_call({"messages": messages, "tools": list(tools) or None})
    return made(name).render(call).text


@ALL
def test_the_family_follows_from_the_template(name: str) -> None:
    family, takes_tools = TEMPLATES[name]
    template = made(name)
    assert template.family.name == family and template.supports_tools is takes_tools


@ALL
def test_prompts_with_tools_calls_and_results_are_the_golden_ones(name: str) -> None:
    golden = (FOLDER / "golden" / f"{name}.txt").read_text("utf-8")
    assert rendered(name, CONVERSATION, WEATHER) == golden


@ALL
def test_a_plain_conversation_is_what_jinja_makes_of_it(name: str) -> None:
    messages = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Good day."},
        {"role": "user", "content": "Which hill is the highest?"},
    ]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["strftime_now"] = lambda form: datetime(2026, 11, 29).strftime(form)

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment.globals["raise_exception"] = refuse
    wanted = environment.from_string(source(name)).render(
        messages=messages,
        bos_token="<s>",
        eos_token="</s>",
        add_generation_prompt=True,
        tools=[] if name == "hermes-3" else None,  # it can't do without a list
    )
    assert rendered(name, messages) == wanted


@ALL
def test_two_calls_at_once_keep_their_results(name: str) -> None:
    messages = [
        {"role": "user", "content": "Lisbon and Porto?"},
        called(("a", "Lisbon"), ("b", "Porto")),
        result("a", "sun"),
        result("b", "rain"),
        {"role": "user", "content": "So?"},
    ]
    text = rendered(name, messages, WEATHER)
    places = [text.rindex(word) for word in ("sun", "rain", "So?")]
    assert places == sorted(places)
    asked = text.index("Porto?") + 6
    assert text.index("Lisbon", asked) < text.index("Porto", asked) < places[1]


def test_a_result_stays_behind_its_own_call_where_one_call_is_all_a_message_takes() -> None:
    messages = [
        {"role": "user", "content": "Both?"},
        called(("a", "Lisbon"), ("b", "Porto")),
        result("b", "rain"),
        result("a", "sun"),
    ]
    for name in ("llama-3.1", "gpt-oss"):
        text = rendered(name, messages, WEATHER)
        order = [text.rindex(word) for word in ("Lisbon", "sun", "Porto", "rain")]
        assert order == sorted(order), name


def test_mistral_gets_ids_of_nine_letters_that_calls_and_results_share() -> None:
    text = rendered("mistral-nemo", CONVERSATION, WEATHER)
    call = text.split('"id": "')[1].split('"')[0]
    assert len(call) == 9 and call.isalnum() and text.count(call) == 2


@pytest.mark.parametrize("name", ["qwen3-coder", "qwen3.5", "gemma-4", "deepseek-v3.1"])
def test_arguments_and_descriptions_can_not_spell_control_tokens(name: str) -> None:
    def tokenize(text: str, special: bool) -> list[int]:
        return list((text.replace("<|im_end|>", "\0") if special else text).encode())

    template = ChatTemplate(source(name), bos="<s>", eos="</s>", tokenize=tokenize)

    def controls(words: str) -> int:
        tool = {**WEATHER, "function": {**WEATHER["function"], "description": words}}
        asked = called(("call_0123456789", words))
        messages = [*CONVERSATION[:2], asked, result("call_0123456789", words)]
        prompt = template.render(parse_chat_call({"messages": messages, "tools": [tool]}))
        assert prompt.text.count("Lisbon") == 4
        return prompt.tokens.count(0)

    assert controls("Lisbon<|im_end|>!") == controls("Lisbon!")


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("gemma-4", '<|"|>'),
        ("gemma-4", "<tool_response|>"),
        ("qwen3", "<tool_call>"),
        ("qwen3-coder", "</tool_response>"),
    ],
)
def test_results_become_no_tag_that_is_a_token_in_plain_text_too(name: str, tag: str) -> None:
    def tokenize(text: str, special: bool) -> list[int]:
        return list(text.replace(tag, "\0").encode())

    template = ChatTemplate(source(name), bos="<s>", eos="</s>", tokenize=tokenize)

    def tags(words: str) -> int:
        messages = [*CONVERSATION[:3], result("call_0123456789", words), CONVERSATION[5]]
        call = parse_chat_call({"messages": messages, "tools": [WEATHER]})
        prompt = template.render(call)
        assert words in prompt.text
        return prompt.tokens.count(0)

    assert tags(f"Sun{tag} and {tag}{tag}rain.") == tags("Sun.") > 0


def test_results_reach_a_prompt_whose_template_wants_them_elsewhere() -> None:
    orphan = [CONVERSATION[1], result("nobody", "Hail."), {"role": "user", "content": "So?"}]
    assert "Hail." in rendered("gemma-4", orphan, WEATHER)
    broken = called(("call_0123456789", "x"))
    broken["tool_calls"][0]["function"]["arguments"] = "half of {"
    for name in ("gemma-4", "qwen3-coder", "qwen3.5", "deepseek-v3.1"):
        text = rendered(name, [CONVERSATION[1], broken, CONVERSATION[3]], WEATHER)
        assert "half of {" in text and "Sun, 24" in text


@pytest.mark.parametrize(
    "text",
    ["", "{{ messages }}", "<tool_call>\n<function=name>{{ tools }}", "[TOOL_CALLS] said somebody"],
)
def test_a_template_of_no_known_family_is_told_of_tools_in_words(text: str) -> None:
    assert family_of(text, takes_tools=True) is OTHER


@pytest.mark.parametrize(
    ("name", "tag"), [("qwen3", ""), ("deepseek-r1-tools", "<think>"), ("gpt-oss", "")]
)
def test_prompts_that_open_a_block_of_thoughts_say_so(name: str, tag: str) -> None:
    assert made(name).opening == tag
