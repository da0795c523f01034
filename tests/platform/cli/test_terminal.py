"""What others write gives no orders to the terminal of whoever reads it."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import pytest

from roost_platform.cli.api_client import ServerEvent
from roost_platform.cli.chat import _Printer
from roost_platform.cli.tables import show
from roost_platform.stack.reporter import LiveReporter, PlainReporter, complaints
from roost_platform.terminal import for_stream, harmless

CLIPBOARD = "\x1b]52;c;cm0gLXJmIH4=\x07"
ORDERS = [
    CLIPBOARD,
    "\x1b[2J\x1b[H",  # clears what was said
    "\x1b]0;root@host\x1b\\",
    "\x9b31m",  # the same in one byte
    "\rroost: all is well",
    "a\x08\x08b",
    "\u202egnp.exe",
    "\x1bP+q544e\x1b\\",
    "\x1b[6n",  # the terminal types an answer
]
BAD = set("\x1b\x9b\x07\x08\r\u202e\x90")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextmanager
def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """A terminal without colours: every escape sequence on it is somebody else's."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    made = Terminal()
    with redirect_stdout(made), redirect_stderr(made):
        yield made


@pytest.mark.parametrize("order", ORDERS)
def test_no_order_in_a_text_reaches_a_terminal(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with on_a_terminal(monkeypatch) as terminal:
        printer = _Printer()
        printer(ServerEvent("delta", {"text": f"One {order}"}))
        printer(ServerEvent("answer", {"text": f"One {order} two {order}"}))
        printer(ServerEvent("tool", {"line": f"Looking {order}"}))
        show("nothing", ("id", "name"), [("1", f"Eve {order}")])
        PlainReporter(verbose=True).output("worker", f"plain {order}")
    said = terminal.getvalue()
    assert not BAD & set(said)
    assert all(word in said for word in ("One", "two", "Looking", "Eve", "plain"))
    assert not BAD & set("".join(complaints([json.dumps({"event": f"x {order}"}), order])))


@pytest.mark.parametrize("order", ORDERS)
def test_names_in_a_pipe_hold_no_orders_and_answers_stay_exact(
    capsys: pytest.CaptureFixture[str], order: str
) -> None:
    show("nothing", ("id", "name"), [("1", f"Eve {order}")])
    assert not BAD & set(capsys.readouterr().out)
    _Printer()(ServerEvent("answer", {"text": f"One {order}"}))
    assert f"One {order}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line",
    ["[/no] tag", "[red]x", "[link=http://evil]x[/link]", "[" * 100_000, '{"event":' * 50_000],
    ids=["closing", "colour", "link", "brackets", "deep"],
)
def test_what_a_part_prints_is_no_markup(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with on_a_terminal(monkeypatch) as terminal:
        reporter = LiveReporter()
        try:
            reporter.starting("worker")
            reporter.output("worker", f"{line}{CLIPBOARD}")
            reporter.ready("worker", 1.0)
        finally:
            reporter.close()
    assert "\x07" not in terminal.getvalue()


def test_ordinary_texts_stay_as_they_are() -> None:
    text = "Line one\n\tLine two: Łódź 漢字 👨\u200d👩\u200d👧 ☎️ שלום"
    assert harmless(text) == text
    assert for_stream(f"{text}\x1b[1m", io.StringIO()) == f"{text}\x1b[1m"
