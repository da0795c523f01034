"""Texts made to be slow: the console reads them in a bounded time, and off the event loop."""

import json
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from roost_channels.rendering.parts import Entity
from roost_platform.console import markdown as markdown_module
from roost_platform.console import page_response, rendering
from roost_platform.console.bubbles import entities_html, marks_html
from roost_platform.console.markdown import TEXT_S, markdown, plain
from roost_platform.console.page_response import PageResponse
from roost_platform.console.pages.files import file_name
from roost_platform.console.rendering import JSON_DEPTH_MAX, page_markdown, pretty_json
from roost_platform.masking import mask
from roost_platform.testing.growth import grows_in_proportion, processor_seconds
from roost_platform.views.files import FileView

UNITS = (
    *("*", "_", "~", "|", "[", "(", "<", "`", ">", "> ", "- ", "1. ", "#", "# a\n", "![", "\n"),
    *("*a* ", "*a", "_a_ ", "~a~ ", "`a` ", "```", "```a", "> a\n", "[a](b) ", "[a]: b\n", "- a\n"),
    *("1", "12:", "12345678:aaaa", "+4912345678 ", "+1", "bearer ", "Bearer\t", "://a:", "://"),
    *("#token=", "a:b@", "e\u0301", "\u200d", "👨\u200d", " ", ".", "/", '"', "{", "a", "&"),
)
# Empty cells that the library adds: a few kilobytes become millions.
WIDE_TABLES = ("|" + "a|" * 250 + "\n|" + "-|" * 250 + "\n" + "|b\n" * 250 + "\n") * 34
LAZY_LINES = "> " * 18 + "a\n" + "a\n" * 20_000


def repeated(unit: str, length: int) -> str:
    return (unit * (length // len(unit) + 1))[:length]


def grows_with_the_length(work: Callable[[str], object], unit: str) -> bool:
    return grows_in_proportion(lambda size: partial(work, repeated(unit, size)), 3_000)


def file_of(name: str) -> str:
    return file_name(
        FileView(**{**dict.fromkeys(FileView.__dataclass_fields__), "name": name, "id": "1"})  # type: ignore[arg-type]
    )


def entities(text: str) -> object:
    found = [Entity("bold", place, 3) for place in range(0, len(text), 4)]
    return entities_html(text, found)


@pytest.mark.parametrize(
    "work",
    [markdown.__wrapped__, marks_html, entities, mask, pretty_json, file_of, plain],
    ids=["markdown", "whatsapp", "entities", "mask", "json", "file name", "plain"],
)
def test_what_walks_a_text_grows_with_it(work: Callable[[str], object]) -> None:
    slow = [unit for unit in UNITS if not grows_with_the_length(work, unit)]
    assert slow == []


@pytest.mark.parametrize("text", [WIDE_TABLES, LAZY_LINES], ids=["wide tables", "lazy lines"])
def test_a_text_that_takes_too_long_is_shown_plain_and_complete(text: str) -> None:
    assert markdown.__wrapped__(text) == plain(text)
    # Other programs slow a processor down, so the best of three counts.
    assert any(
        processor_seconds(partial(markdown.__wrapped__, text)) < 4 * TEXT_S for _ in range(3)
    )


def test_a_text_nested_too_deeply_loses_nothing() -> None:
    deep = "> " * 1_000 + "bottom"
    assert "bottom" in markdown(deep)
    assert "bottom" in marks_html(deep)
    assert marks_html("> > a") == (
        '<span class="blockquote"><span class="blockquote">a</span></span>'
    )


def test_the_texts_of_one_page_share_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    def shown(template: str) -> Any:
        class Page:
            def render(self, _context: Mapping[str, Any]) -> str:
                return page_markdown("**bold**")

        return Page()

    monkeypatch.setattr(rendering, "environment", lambda: type("E", (), {"get_template": shown}))
    assert "<strong>" in rendering.render("x", {})
    monkeypatch.setattr(rendering, "PAGE_TEXTS_S", -1.0)
    assert rendering.render("x", {}) == '<p class="pre">**bold**</p>'
    assert "<strong>" in page_markdown("**bold**")


def test_json_is_indented_unless_it_is_deep() -> None:
    assert pretty_json('{"a": [1]}') == '{\n  "a": [\n    1\n  ]\n}'
    deep = "[" * (JSON_DEPTH_MAX + 1) + "]" * (JSON_DEPTH_MAX + 1)
    assert pretty_json(deep) == deep
    wide = "[" * 30 + ",".join(["1"] * 50_000) + "]" * 30
    assert pretty_json(wide) == wide
    assert pretty_json("[" * 100_000) == "[" * 100_000


@pytest.mark.parametrize("half", ["\\ud83d", "\\udfff", "\\uDC00 \\ud800"])
def test_halves_of_characters_in_json_do_not_break_the_page(half: str) -> None:
    for text in (f'"{half}"', f'{{"{half}": ["{half}"]}}'):
        assert "?" in pretty_json(text).encode().decode()
    assert "\ufffd" in markdown("**half** " + json.loads(f'"{half}"'))
    assert "😀" in pretty_json('"\\ud83d\\ude00"')


def test_a_page_becomes_html_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []

    def shown(_template: str, _context: Mapping[str, Any]) -> str:
        threads.append(threading.current_thread().name)
        return "<p>é</p>"

    monkeypatch.setattr(page_response, "render", shown)

    async def page(_request: object) -> PageResponse:
        threads.append(threading.current_thread().name)
        response = PageResponse("x.html", {}, 418)
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return response

    answer = TestClient(Starlette(routes=[Route("/", page)])).get("/")
    assert (answer.status_code, answer.text) == (418, "<p>é</p>")
    assert answer.headers["content-length"] == "9"
    assert dict(answer.cookies) == {"a": "1", "b": "2"}
    assert threads[0] != threads[1]


def test_the_cache_keeps_no_more_texts_than_said() -> None:
    assert markdown.cache_info().maxsize == markdown_module.CACHED_TEXTS_MAX
