"""The console's parts by themselves: assets, text, waterfalls, figures, bounds."""

import asyncio
import dataclasses
import hashlib
import re
import time
import tomllib
import typing
from pathlib import Path
from typing import Any

import pytest

from roost_channels.rendering.parts import Entity
from roost_platform.console import markdown as markdown_module
from roost_platform.console import pages as pages_package
from roost_platform.console.assets import files, icon
from roost_platform.console.bubbles import entities_html, marks_html
from roost_platform.console.live import Fragment, Live, LivePage
from roost_platform.console.markdown import TEXT_LENGTH_MAX, markdown
from roost_platform.console.pages import overview
from roost_platform.console.rendering import TEMPLATES, duration, number
from roost_platform.console.vendor import ICONS, LOCK, PACKAGES, VENDOR
from roost_platform.db import models
from roost_platform.db.stores import Stores
from roost_platform.errors import Busy, Refused
from roost_platform.identity.passwords import PASSWORD_LENGTH_MAX, Passwords
from roost_platform.testing.console import seed
from roost_platform.views.figures import percentile, series
from roost_platform.views.pagination import PAGE_NUMBER_MAX, Pages, like, page_number
from roost_platform.views.session.spans import SPANS_MAX, turn_view
from roost_platform.views.sessions import SessionFilter, sessions


def test_vendored_files_are_the_locked_ones_and_no_others() -> None:
    packages = tomllib.loads(LOCK.read_text())["package"]
    assert [p["name"] for p in packages] == [p.name for p in PACKAGES]
    locked = {name: digest for p in packages for name, digest in p["files"].items()}
    found = {
        path.relative_to(VENDOR).as_posix(): "sha256-"
        + hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.rglob("*")
        if path.is_file() and path.parent != VENDOR
    }
    assert found == locked
    notice = (VENDOR / "NOTICE").read_text()
    for package in packages:
        assert package["integrity"].startswith("sha512-")
        assert package["version"] in notice
        assert package["licence"] in notice
        assert any("LICENSE" in name for name in package["files"])


def test_s15_templates_carry_no_inline_script_style_or_handler() -> None:
    for path in TEMPLATES.rglob("*.html"):
        text = path.read_text()
        assert not re.search(r"<script(?![^>]*\bsrc=)", text), path
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|hx-on|javascript:|https?://", text), path
        assert "|safe" not in text.replace(" ", ""), path


def test_every_page_has_at_most_one_stream() -> None:
    for path in TEMPLATES.rglob("*.html"):
        assert path.read_text().count("hx-sse:connect") <= 1, path


def test_icons_exist_and_are_labelled_or_hidden() -> None:
    used = re.compile(r'icon\("([a-z0-9-]+)"')
    for path in TEMPLATES.rglob("*.html"):
        for name in used.findall(path.read_text()):
            assert name in ICONS, (path, name)
    assert 'aria-hidden="true"' in icon("bird")
    assert 'aria-label="A &lt;bird&gt;"' in icon("bird", "A <bird>")
    assert all(path.is_file() for path in files().values())


def test_every_field_of_a_page_says_what_it_is_for() -> None:
    folder = Path(pages_package.__file__).parent
    found = 0
    for path in sorted(folder.glob("*.py")):
        module = __import__(f"roost_platform.console.pages.{path.stem}", fromlist=["x"])
        for name, kind in vars(module).items():
            if name.endswith("Context") and dataclasses.is_dataclass(kind):
                found += 1
                hints = typing.get_type_hints(kind, include_extras=True)
                for field in dataclasses.fields(kind):
                    assert typing.get_origin(hints[field.name]) is typing.Annotated, (name, field)
    assert found >= 12


@pytest.mark.parametrize(
    ("text", "wanted", "unwanted"),
    [
        ("**b** _i_ `c`", "<strong>b</strong> <em>i</em> <code>c</code>", "**"),
        ("![cat](https://x.example/c.png)", "[image: cat]", "<img"),
        ("<b>raw</b>", "&lt;b&gt;raw&lt;/b&gt;", "<b>"),
        ("[x](javascript:alert(1))", "[x](javascript:alert(1))", "href"),
        ("[x](https://y.example)", 'rel="noopener noreferrer nofollow"', "javascript"),
        ("# Big", "<h3>Big</h3>", "<h1>"),
        ("| a |\n| - |\n| b |", "<td>b</td>", "|"),
        ("one\ntwo", "one<br>\ntwo", "\n\n"),
    ],
)
def test_markdown_is_rendered_without_anything_that_acts(
    text: str, wanted: str, unwanted: str
) -> None:
    html = markdown(text)
    assert wanted in html
    assert unwanted not in html


def test_a_text_beyond_the_bound_is_shown_plain() -> None:
    html = markdown("*" * (TEXT_LENGTH_MAX + 1))
    assert html.startswith('<p class="pre">***')
    markdown_module.markdown.cache_clear()


def test_entities_count_utf16_and_keep_the_text() -> None:
    text = "😀 bold <b> and code"
    html = entities_html(
        text,
        [
            Entity("bold", 3, 8),
            Entity("italic", 3, 4),
            Entity("code", 16, 4),
            Entity("unheard_of", 0, 2),
            Entity("bold", 90, 4),
        ],
    )
    assert html == "😀 <b><i>bold</i> &lt;b&gt;</b> and <code>code</code>"


def test_marks_show_as_on_the_phone() -> None:
    html = marks_html("*bold* _it_ ~no~ `c` 2*3*4 snake_case_name ```x < y```")
    assert html == (
        "<b>bold</b> <i>it</i> <s>no</s> <code>c</code> 2*3*4 snake_case_name "
        '<code class="pre">x &lt; y</code>'
    )
    quoted = marks_html("> Ada: *so*\n\nYes, 5 > 3")
    assert quoted == '<span class="blockquote">Ada: <b>so</b></span>\nYes, 5 &gt; 3'


def turn(**more: Any) -> models.Turn:
    values = {"id": "t", "number": 1, "state": "done", "reason_code": "", "finished_at": 110.0}
    return models.Turn(queued_at=100.0, started_at=101.0, **{**values, **more})


def step(started: float, took: float, first: float | None) -> models.TurnStep:
    return models.TurnStep(
        step=1,
        started_at=started,
        duration_s=took,
        time_to_first_token_s=first,
        prompt_tokens=10,
        cached_tokens=5,
        completion_tokens=3,
    )


def test_a_waterfall_covers_the_turn_in_order() -> None:
    call = models.ToolCall(name="look", state="ok", attempts=2, started_at=104.0, finished_at=106.0)
    part = models.Part(position=0, count=1, state="sent", started_at=108.0, sent_at=110.0)
    view = turn_view(turn(), [step(101, 3, 1.0), step(106, 2, None)], [call], [part])
    assert [(s.kind, s.start, s.length) for s in view.spans] == [
        ("queue", 0.0, 10.0),
        ("prefill", 10.0, 10.0),
        ("decode", 20.0, 20.0),
        ("tool", 40.0, 20.0),
        ("decode", 60.0, 20.0),
        ("deliver", 80.0, 20.0),
    ]
    assert view.spans[3].detail == "ok, attempt 2"
    assert (view.prompt_tokens, view.completion_tokens) == (20, 6)


def test_a_running_call_reaches_to_the_edge_and_spans_are_bounded() -> None:
    running = models.ToolCall(name="look", state="running", attempts=1, started_at=103.0)
    view = turn_view(turn(state="running", finished_at=None), [step(101, 4, 1)], [running], [])
    assert view.spans[-1].duration_s is None
    assert view.spans[-1].start + view.spans[-1].length == pytest.approx(100, abs=0.1)
    many = [
        models.ToolCall(name="n", state="ok", attempts=1, started_at=101.0, finished_at=102.0)
    ] * (SPANS_MAX + 5)
    assert len(turn_view(turn(), [], many, []).spans) == SPANS_MAX


def test_figures_are_told_in_the_units_people_use() -> None:
    assert [duration(s) for s in (None, 0, 0.34, 2.44, 42, 185, 3900, 90000 * 3)] == [
        "\N{EN DASH}",
        "0 ms",
        "340 ms",
        "2.4 s",
        "42 s",
        "3 min 5 s",
        "1 h 5 min",
        "3 d",
    ]
    assert [number(n) for n in (None, 12, 2260, 123456, 2_500_000)] == [
        "\N{EN DASH}",
        "12",
        "2\u202f260",
        "123 k",
        "2.5 M",
    ]
    assert percentile([], 0.5) is None
    assert percentile([3, 1, 2], 0.5) == 2
    assert percentile(list(range(100)), 0.95) == 95
    assert overview.spark([0, 0]).line == ""
    assert overview.spark([1, 2]).line == "0.0,12.0 100.0,2.0"


def test_the_series_has_every_minute_of_the_hour() -> None:
    minutes = series([], [9_990.0], 10_000.0)
    assert len(minutes) == 60
    assert sum(m.turns for m in minutes) == 1
    assert minutes[-1].ttft_p50_ms is None


def test_pages_are_bounded_and_searches_are_literal() -> None:
    assert [page_number(t) for t in ("", "x", "0", "7", "9" * 30, "-1")] == [
        1,
        1,
        1,
        7,
        PAGE_NUMBER_MAX,
        1,
    ]
    assert Pages(2, 61, "/x", (("q", "a b"), ("state", ""))).link(3) == "/x?q=a+b&page=3"
    assert like("50%_\\") == "%50\\%\\_\\\\%"


async def test_filters_find_what_they_name(stores: Stores) -> None:
    await seed(stores, time.time())
    expected = {
        SessionFilter(): 5,
        SessionFilter(state="running"): 1,
        SessionFilter(state="pending"): 0,
        SessionFilter(state="waiting"): 0,
        SessionFilter(state="held"): 1,
        SessionFilter(state="idle"): 3,
        SessionFilter(state="failed"): 0,
        SessionFilter(channel="whatsapp"): 1,
        SessionFilter(text="LOVELACE"): 1,
        SessionFilter(text="%"): 0,
    }
    async with stores.database.read() as session:
        for by, wanted in expected.items():
            count, rows = await sessions(session, by, 1, with_texts=True)
            assert (count, len(rows)) == (wanted, wanted), by
        _, rows = await sessions(session, SessionFilter(state="running"), 1, with_texts=False)
    assert rows[0].state == "answering"
    assert rows[0].preview.endswith("characters, hidden")


async def test_the_overview_reads_the_same_on_both_databases(stores: Stores) -> None:
    from roost_platform.views.figures import figures

    now = time.time()
    await seed(stores, now)
    async with stores.database.read() as session:
        found = await figures(session, now)
    assert (found.sessions_active, found.people_waiting, found.deliveries_failed) == (1, 1, 1)
    assert found.ttft_p50_ms is not None
    assert 150 < found.ttft_p50_ms < 350
    assert sum(m.turns for m in found.series) > 100


async def test_streams_send_only_what_changed_and_are_bounded(sqlite_stores: Stores) -> None:
    rendered: list[Any] = []

    def render(template: str, context: Any) -> str:
        rendered.append(context["data"])
        return f"<p>{context['data']}</p>"

    async def signed_in() -> bool:
        return True

    live = Live(sqlite_stores.database, render, interval_s=0.01, reload_s=0.01, streams_max=1)
    data = {"a": 1, "b": 1}

    async def load() -> LivePage | None:
        fragments = tuple(Fragment(name, "x.html", value) for name, value in data.items())
        return LivePage(fragments, {"metrics": data["a"]}) if data else None

    stream = live._stream(load, {}, signed_in, 0.01)
    first = await anext(stream)
    assert 'hx-target="#a"' in str(first.data)
    assert 'hx-target="#b"' in str(first.data)
    assert (await anext(stream)).event == "metrics"
    with pytest.raises(Busy):
        live.response(load, context={}, still_signed_in=signed_in)
    data["b"] = 2
    second = await anext(stream)
    assert 'hx-target="#a"' not in str(second.data)
    assert rendered == [1, 1, 2]
    data.clear()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    assert live.open == 0


async def test_one_password_is_hashed_at_a_time_and_long_ones_are_refused() -> None:
    running, most = 0, 0

    class Slow:
        def hash(self, password: str) -> str:
            nonlocal running, most
            running += 1
            most = max(most, running)
            time.sleep(0.02)
            running -= 1
            return password

    passwords = Passwords(Slow())  # type: ignore[arg-type]
    await asyncio.gather(*(passwords.hash(f"a long password {n}") for n in range(6)))
    assert most == 1
    with pytest.raises(Refused):
        await passwords.hash("x" * (PASSWORD_LENGTH_MAX + 1))
