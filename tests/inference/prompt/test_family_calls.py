"""Each family's tool calls: parsed in any pieces, forced by its grammar, else text."""

import random
from dataclasses import dataclass
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer

from roost_inference.prompt.call_markup import CallMarkup, Markers, ParsedCall, Signature
from roost_inference.prompt.families.deepseek import DeepSeekCalls
from roost_inference.prompt.families.gemma import GemmaCalls
from roost_inference.prompt.families.harmony import HarmonyChannels
from roost_inference.prompt.families.hermes import HERMES
from roost_inference.prompt.families.json_text import BrokenMarkup, ObjectEnd
from roost_inference.prompt.families.llama3 import LlamaCalls
from roost_inference.prompt.families.mistral import MistralList, MistralNamed
from roost_inference.prompt.families.table import FAMILIES, Family
from roost_inference.prompt.families.xml_parameters import XmlParameters
from roost_inference.prompt.tools import build_grammar
from roost_inference.wire.parsing import parse_chat_call

BYTES = LLTokenizer("byte")
A, B = '{"place": "Lis\\"bon ]} <x>"}', '{"place": "Porto"}'
USER = [{"role": "user", "content": "hi"}]
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {"place": {"type": "string"}},
                "required": ["place"],
            },
        },
    }
    for name in ("weather", "time")
]
FUNCTIONS = [Signature(t["function"]["name"], t["function"]["parameters"]) for t in TOOLS]


@dataclass(frozen=True)
class Sample:
    """text: as the model writes it; words: what a reader gets; calls: in order; broken: texts that
    are no calls and have to come out as they are; cut: the beginning of a call."""

    markup: CallMarkup
    text: str
    calls: tuple[tuple[str, str], ...]
    broken: tuple[str, ...]
    cut: str
    words: str = ""


def deepseek(name: str, arguments: str) -> str:
    return f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n{arguments}\n```<｜tool▁call▁end｜>"  # noqa: E501, RUF001


def plain(name: str, arguments: str) -> str:
    return f"<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{arguments}<｜tool▁call▁end｜>"  # noqa: RUF001


def tagged(name: str, place: str) -> str:
    parameter = f"<parameter=place>\n{place}\n</parameter>\n"
    return f"<tool_call>\n<function={name}>\n{parameter}</function>\n</tool_call>"


def quoted(name: str, place: str) -> str:
    return f'<|tool_call>call:{name}{{place:<|"|>{place}<|"|>}}<tool_call|>'


BEGIN, END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"  # noqa: RUF001
ANALYSIS = "<|channel|>analysis<|message|>Look it up.<|end|><|start|>assistant"
TO = "<|channel|>commentary to=functions.weather <|constrain|>json<|message|>"
SAMPLES = {
    "hermes": Sample(
        HERMES,
        f'<tool_call>\n{{"name": "weather", "arguments": {A}}}\n</tool_call>\n'
        f'<tool_call>\n{{"name": "time", "arguments": {B}}}\n</tool_call>',
        (("weather", A), ("time", B)),
        ("<tool_call>\n{nothing}\n</tool_call>", "<tool_call> is a tag", "a <tool_cal"),
        '<tool_call>\n{"name": "wea',
    ),
    "mistral-list": Sample(
        MistralList(),
        f'[TOOL_CALLS][{{"name": "weather", "arguments": {A}, "id": "abcdefghi"}}, '
        f'{{"name": "time", "arguments": {B}}}]',
        (("weather", A), ("time", B)),
        ("[TOOL_CALLS] are markup", '[TOOL_CALLS][{"name": 5}]', '[TOOL_CALLS]["a"]', "[TOOL_CA"),
        '[TOOL_CALLS][{"name": "weather", "arguments": {"pl',
    ),
    "mistral-id": Sample(
        MistralNamed(with_id=True),
        f"[TOOL_CALLS]weather[CALL_ID]abcdefghi[ARGS]{A}[TOOL_CALLS]time[CALL_ID]bbbbbbbbb[ARGS]{B}",
        (("weather", A), ("time", B)),
        ("[TOOL_CALLS]not a name[ARGS]{}", "[TOOL_CALLS]weather[ARGS][1]", "[TOOL_CALLS]x\ny"),
        '[TOOL_CALLS]weather[CALL_ID]abcdefghi[ARGS]{"place"',
    ),
    "mistral": Sample(
        MistralNamed(with_id=False),
        f"[TOOL_CALLS]weather[ARGS]{A}[TOOL_CALLS]time[ARGS]{B}",
        (("weather", A), ("time", B)),
        ("[TOOL_CALLS]weather[ARGS]{5}", "[TOOL_CALLS]" + "x" * 300),
        '[TOOL_CALLS]weather[ARGS]{"place"',
    ),
    "llama-3": Sample(
        LlamaCalls(),
        f'{{"name": "weather", "parameters": {B}}}',
        (("weather", B),),
        (
            '{"name": "Ann", "parameters": {}}',
            '{"name": "weather"}',
            '{"name": "weather", "age": 5}',
            '{"city": "Porto"}',
            "{",
            '{"na',
            "[1]",
        ),
        '{"name": "weather", "parameters": {"pl',
    ),
    "deepseek-r1": Sample(
        DeepSeekCalls(in_code=True),
        f"{BEGIN}{deepseek('weather', A)}\n{deepseek('time', B)}{END}",
        (("weather", A), ("time", B)),
        (
            f"{BEGIN} is a token",
            f"{BEGIN}{deepseek('weather', '{5}')}{END}",
            BEGIN[:-3],
            BEGIN + deepseek("x" * 600, A) + END,
        ),
        BEGIN + deepseek("weather", A)[:-20],
    ),
    "deepseek-v3.1": Sample(
        DeepSeekCalls(in_code=False),
        f"{BEGIN}{plain('weather', A)}{plain('time', B)}{END}",
        (("weather", A), ("time", B)),
        (
            f"{BEGIN} is a token",
            f"{BEGIN}{plain('weather', '{5}')}{END}",
            f"{BEGIN}{plain('weather', '[1]')}{END}",
            BEGIN[:-3],
            BEGIN + plain("x" * 600, A) + END,
        ),
        BEGIN + plain("weather", A)[:-20],
    ),
    "gemma-4": Sample(
        GemmaCalls(),
        quoted("weather", 'Lis"bon ]} <x>') + quoted("time", "Porto"),
        (("weather", A), ("time", B)),
        (
            "<|tool_call> is a token",
            quoted("nothing", "Porto"),
            "<|tool_call>call:weather{place:Porto}<tool_call|>",
            '<|tool_call>call:weather{<|"|>Porto<|"|>}<tool_call|>',
            '<|tool_call>call:weather{place:<|"|>Porto<|"|>} and <tool_call|>',
            "<|tool_call>call:" + "x" * 300,
            "<|tool_ca",
            "<|channel>thou",
        ),
        '<|tool_call>call:weather{place:<|"|>Lis<tool_call|>',
    ),
    "qwen-xml": Sample(
        XmlParameters(),
        f"{tagged('weather', 'Lis' + chr(34) + 'bon ]} <x>')}\n{tagged('time', 'Porto')}",
        (("weather", A), ("time", B)),
        (
            "<tool_call> is a tag",
            tagged("nothing", "Porto"),
            tagged("weather", "Porto").replace("</function>", "</done>"),
            tagged("weather", "Porto").replace("<parameter=", "<value="),
            tagged("weather", "Porto").replace("place>", "<place>"),
            "<tool_call>\n<function=" + "x" * 600,
            "a <tool_cal",
        ),
        "<tool_call>\n<function=weather>\n<parameter=place>\nLis</par",
    ),
    "gpt-oss": Sample(
        HarmonyChannels(),
        f"{ANALYSIS}{TO}{A}",
        (("weather", A),),
        ("Plain words.", "a < b and <|x", f"{TO}{{5}}", "<|channel|>" + "x" * 300),
        f'{TO}{{"place": "Li',
        words="<think>\nLook it up.\n</think>\n\n",
    ),
}
ALL = pytest.mark.parametrize("name", SAMPLES)


def parsed(
    markup: CallMarkup, text: str, *, seed: int | None = None, cut_off: bool = False
) -> tuple[str, tuple[tuple[str, str], ...], bool]:
    """Words, calls, and whether a call was cut off; the text comes in random pieces with a seed."""
    parser = markup.parser(FUNCTIONS)
    chance, found, rest = random.Random(seed), [], text
    while rest:
        size = len(rest) if seed is None else chance.randint(1, 7)
        found += list(parser.feed(rest[:size]))
        rest = rest[size:]
    found += parser.finish(cut_off=cut_off)
    words = "".join(part for part in found if isinstance(part, str))
    calls = tuple((p.name, p.arguments) for p in found if isinstance(p, ParsedCall))
    return words, calls, parser.truncated


@ALL
def test_calls_are_the_same_whole_and_in_any_pieces(name: str) -> None:
    sample = SAMPLES[name]
    wanted = (sample.words, sample.calls, False)
    assert parsed(sample.markup, sample.text) == wanted
    for seed in range(40):
        assert parsed(sample.markup, sample.text, seed=seed) == wanted


def test_a_recipient_may_stand_before_the_channel() -> None:
    text = f" to=functions.weather<|channel|>commentary json<|message|>{B}"
    for seed in (None, *range(20)):
        assert parsed(HarmonyChannels(), text, seed=seed) == ("", (("weather", B),), False)


@pytest.mark.parametrize(
    "part", ["<|end|>", "<|call|>", "<|channel|>final<|message|>", "<|start|>"]
)
def test_parts_of_the_markup_within_the_arguments_of_a_call_are_text(part: str) -> None:
    arguments = f'{{"place": "\\"{part}\\" {part}"}}'
    wanted = ("Sunny.", (("weather", arguments),), False)
    for text in (f"{TO}{arguments}<|call|>", f"{TO}{arguments}"):
        rest = "<|start|>assistant<|channel|>final<|message|>Sunny."
        for seed in (None, *range(10)):
            assert parsed(HarmonyChannels(), text + rest, seed=seed) == wanted


def test_an_object_that_never_ends_costs_the_reader_only_its_own_message() -> None:
    answer = "<|end|><|start|>assistant<|channel|>final<|message|>Sunny."
    begun = f'{TO}{{"place": "'
    for seed in (None, *range(10)):
        words = parsed(HarmonyChannels(), begun + answer, seed=seed)[0]
        assert words == f"{begun}Sunny."
    many = parsed(HarmonyChannels(), begun * 2000 + answer)[0]
    assert many.endswith("Sunny.") and "assistant" not in many


def test_json_behind_the_name_of_a_function_is_apart_from_it() -> None:
    head = "<|channel|>commentary to=functions.weather"
    for form, good in ((" json", True), ("json", False), ("<|constrain|>json", True), ("", True)):
        call = f"{head}{form}<|message|>{B}"
        assert accepts(HarmonyChannels(), call, tool_choice="required") is good


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("seed", range(8))
def test_rubbish_gives_the_same_in_any_pieces_and_ends(family: Family, seed: int) -> None:
    chance = random.Random(seed)
    bits = [*family.markup.parts, "{", "}", "[", "]", '"', "\\", ", ", "weather", "\n", " ", "<"]
    bits += ['"name": "weather"', '"arguments": {}', "function", "```json\n", "```", "x" * 300]
    bits += ["<function=weather>", "<parameter=place>", "</parameter>", "</function>", "</"]
    bits += ["call:weather{", "place:", "5", "<|channel>thought\n", "}<tool_call|>"]
    bits += ["analysis", "final", "commentary to=functions.weather", "assistant", "<|call|>", "a"]
    for _ in range(60):
        text = "".join(chance.choices(bits, k=chance.randint(1, 20)))
        whole = parsed(family.markup, text)
        for pieces in range(3):
            assert parsed(family.markup, text, seed=pieces) == whole, text


@ALL
def test_malformed_calls_are_text_as_the_model_wrote_it(name: str) -> None:
    sample = SAMPLES[name]
    for text in sample.broken:
        for seed in (None, *range(10)):
            words, calls, truncated = parsed(sample.markup, text, seed=seed)
            assert (words, calls, truncated) == (text, (), False), text


@ALL
def test_a_call_that_the_length_cuts_off_does_not_come_out(name: str) -> None:
    sample = SAMPLES[name]
    for seed in (None, *range(10)):
        words, calls, truncated = parsed(sample.markup, sample.cut, seed=seed, cut_off=True)
        assert (words.strip(), calls, truncated) == ("", (), True)


@ALL
def test_words_before_a_call_come_out_at_once(name: str) -> None:
    markup = SAMPLES[name].markup
    parser = markup.parser(FUNCTIONS)
    intro = "<|channel|>final<|message|>" if name == "gpt-oss" else ""
    assert "".join(map(str, parser.feed(f"{intro}Let me see"))) == "Let me see"


# Grammars


def accepts(markup: CallMarkup, text: str, **fields: Any) -> bool:
    fields.setdefault("tools", TOOLS)
    call = parse_chat_call({"messages": USER, **fields})
    grammar = build_grammar(call, Markers(), markup)
    assert grammar is not None
    matcher = LLMatcher(BYTES, grammar)
    assert not matcher.is_error(), matcher.get_error()
    data = list(text.encode())
    return matcher.try_consume_tokens(data) == len(data) and bool(matcher.is_accepting())


@ALL
def test_the_grammar_lets_the_familys_own_calls_through(name: str) -> None:
    sample = SAMPLES[name]
    assert accepts(sample.markup, sample.text)
    single = name in ("llama-3", "gpt-oss")
    assert accepts(sample.markup, sample.text, tool_choice="required", parallel_tool_calls=True)
    assert accepts(sample.markup, sample.text, parallel_tool_calls=False) is single


@ALL
def test_a_required_call_leaves_no_other_answer(name: str) -> None:
    markup = SAMPLES[name].markup
    assert not accepts(markup, "Just words.", tool_choice="required")
    named = {"type": "function", "function": {"name": "time"}}
    first_call = SAMPLES[name].text
    assert not accepts(markup, first_call, tool_choice=named), "it calls another tool"


@ALL
def test_words_alone_pass_where_the_model_may_choose_and_calls_where_it_may_not(name: str) -> None:
    markup = SAMPLES[name].markup
    words = "It is sunny, {as} [always]."
    if name == "gpt-oss":
        words = f"{ANALYSIS}<|channel|>final<|message|>{words}"
    assert accepts(markup, words)
    assert accepts(markup, words, tool_choice="none")
    assert not accepts(markup, SAMPLES[name].text, tool_choice="none")


@ALL
def test_a_response_format_holds_beside_calls(name: str) -> None:
    markup = SAMPLES[name].markup
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "integer"}}}
    body = "<|channel|>final<|message|>7" if name == "gpt-oss" else "7"
    assert accepts(markup, body, response_format=form)
    assert accepts(markup, body, response_format=form, tools=None)
    assert accepts(markup, SAMPLES[name].text, response_format=form, parallel_tool_calls=True)
    assert not accepts(markup, body.replace("7", "seven"), response_format=form)


@ALL
def test_arguments_that_the_schema_forbids_do_not_pass(name: str) -> None:
    sample = SAMPLES[name]
    wrong = sample.text.replace('"place"', '"city"')
    wrong = wrong.replace("=place>", "=city>").replace("{place:", "{city:")
    assert wrong != sample.text and not accepts(sample.markup, wrong)


def test_the_end_of_an_object_is_found_once_and_only_of_an_object() -> None:
    text = ' {"a": [1, {"b": "}\\""}], "c": "]"} rest'
    whole = text.index(" rest")
    for seed in range(20):
        chance, end, size = random.Random(seed), ObjectEnd(), 0
        found = None
        while found is None:
            size += chance.randint(1, 5)
            found = end.find(text[:size])
        assert found == whole
    for bad in ("[1]", "x", "1", '"a"', "{" + "[" * 200):
        with pytest.raises(BrokenMarkup):
            ObjectEnd().find(bad)
