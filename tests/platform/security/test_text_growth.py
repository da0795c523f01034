"""Every function of one text, found by looking, takes time that grows with the text.

Strangers choose these texts. A library's call may be quadratic too, and holds the interpreter until
it is done: normalising 80,000 combining characters took nine seconds.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from roost_platform.testing.growth import grows_in_proportion

ROOMS = (
    *("roost", "roost_workflows.turn", "roost_workflows.hints"),
    *("roost_channels", "roost_channels.rendering", "roost_channels.delivery"),
    *("roost_channels.progress", "roost_channels.http", "roost_channels.telegram"),
    *("roost_channels.whatsapp", "roost_channels.whatsapp_cloud"),
    *("roost_platform.commands", "roost_platform.masking", "roost_platform.schedules"),
    *("roost_platform.console", "roost_platform.views", "roost_platform.web"),
    *("roost_platform.db.base.text", "roost_platform.db.cards", "roost_platform.db.inbox"),
    *("roost_platform.db.turns", "roost_platform.db.waits", "roost_platform.db.people"),
    *("roost_platform.gateway.families", "roost_platform.gateway.guards"),
    *("roost_platform.gateway.compression", "roost_platform.gateway.providers"),
    *("roost_inference.wire", "roost_inference.client", "roost_inference.prompt"),
)
# They read what we or an operator wrote: patterns of routes, names of files, an engine's template.
OURS = {"_exactness", "_rendered_tag", "static_url", "icon"}
# Markdown has a budget of its own, held in tests/channels/rendering/test_rendering_bounds.py.
BUDGETED = {"parse", "markdown", "page_markdown", "read", "pieces"}
GROWTH_MAX = 36.0  # in processor time, for sixteen times the text: six for each four times
FACTOR = 16
LENGTH = 1_500


def repeated(unit: str) -> Callable[[int], str]:
    return lambda length: (unit * (length // len(unit) + 1))[:length]


UNITS = (
    *(
        " ",
        "\n",
        "\t",
        " \n",
        "\r",
        "<",
        "< ",
        "<|",
        "[",
        "](",
        "{",
        "(",
        "*",
        "_a*",
        "`",
        "`a",
        ">",
    ),
    *(
        "> a\n",
        "# a\n",
        "- a\n",
        "|a|b\n",
        "\\",
        '"',
        "'",
        "&",
        "&amp;",
        "/",
        "://",
        "http://a",
        "a.",
    ),
    *(
        "a@b.c ",
        "a@",
        "-",
        "=",
        ",",
        ";",
        ":",
        "1",
        "1,",
        "+1",
        "+1 555 ",
        "0x",
        "a",
        "word ",
        "a-b_",
    ),
    *("\u0315\u0300", "e\u0301", "\u200d", "\u202e", "\U000e0041", "漢", "🇩", "²", "\ud800"),
    *('{"a":', "[1,", "\\u", "<think>", "</think>", "<tool_call>", "[INST] ", "TEL;type=", "\r\n "),
    *(
        "token=a ",
        "Bearer ",
        "?a=b&",
        "%25",
        "```\n",
        "~~~",
        "<br>",
        "every day at ",
        "10:00 ",
        "/a ",
    ),
)
SHAPES: dict[str, Callable[[int], str]] = {
    **{repr(unit): repeated(unit) for unit in UNITS},
    "combining": lambda n: "a" + "\u0315" * (n // 2) + "\u0300" * (n // 2),
    "gap": lambda n: "a" + " " * n + "b",
    "open tag": lambda n: "<" + " " * n + "x",
    "closed brackets": lambda n: "[" * (n // 2) + "]" * (n // 2),
    "text in JSON": lambda n: '"' + "\\u0041" * (n // 6) + '"',
    "data URL": lambda n: "data:text/plain" + ";a=b" * (n // 4),
}


def modules() -> Iterator[Any]:
    for room in ROOMS:
        found = importlib.import_module(room)
        yield found
        for one in pkgutil.walk_packages(getattr(found, "__path__", []), f"{room}."):
            if not any(
                part in one.name for part in (".testing", ".execution", "__main__", "child")
            ):
                yield importlib.import_module(one.name)


def of_one_text() -> dict[str, Callable[[str], Any]]:
    """Functions that need a text and nothing else, by their full names."""
    found: dict[str, Callable[[str], Any]] = {}
    for module in modules():
        for name, function in vars(module).items():
            if not inspect.isfunction(function) or function.__module__ != module.__name__:
                continue
            if inspect.iscoroutinefunction(function) or name in OURS | BUDGETED:
                continue
            needed = [
                one
                for one in inspect.signature(function).parameters.values()
                if one.default is one.empty
            ]
            if len(needed) != 1 or needed[0].kind is not needed[0].POSITIONAL_OR_KEYWORD:
                continue
            with suppress(NameError):
                if get_type_hints(function).get(needed[0].name) is str:
                    found[f"{module.__name__}.{name}"] = function
    return found


def work(function: Callable[[str], Any], text: str) -> Callable[[], None]:
    """One call, whatever the function says of the text. A fault of code is no answer."""

    def call() -> None:
        try:
            answer = function(text)
            if inspect.isgenerator(answer):
                for _ in answer:
                    pass
        except (RecursionError, NameError):
            raise
        except Exception:
            pass

    return call


def grows_with_the_text(function: Callable[[str], Any], shape: Callable[[int], str]) -> bool:
    def prepare(length: int) -> Callable[[], None]:
        return work(function, shape(length))

    return grows_in_proportion(prepare, LENGTH, FACTOR, GROWTH_MAX)


def test_every_function_of_one_text_grows_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    functions = of_one_text()
    assert len(functions) > 120  # the search still finds them
    slow = [
        f"{name} of {kind}"
        for name, function in functions.items()
        for kind, shape in SHAPES.items()
        if not grows_with_the_text(function, shape)
    ]
    assert slow == []


def test_code_that_takes_the_square_of_its_text_is_found() -> None:
    def square(length: int) -> Callable[[], object]:
        return lambda: [length for _ in range(length) for _ in range(length)]

    assert not grows_in_proportion(square, 500)
    assert grows_in_proportion(lambda length: lambda: [0] * 1_000 * length, 1_000)
