"""Every number of the Usage page is that of the rows, on both databases."""

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from roost_platform.db import models
from roost_platform.testing.console.gateway import call_rows, key_rows
from roost_platform.testing.console.reader import Reader
from roost_platform.views.gateway.usage_table import NOBODY, ROWS_MAX

DAY_S = 86_400
VALUES: dict[str, Callable[[models.GatewayCall], str]] = {
    "day": lambda row: datetime.fromtimestamp(row.started_at, UTC).date().isoformat(),
    "model": lambda row: row.model,
    "target": lambda row: row.target or NOBODY,
    "agent": lambda row: row.agent or NOBODY,
    "key": lambda row: row.key_id or NOBODY,
    "person": lambda row: row.person or NOBODY,
}
SUMS = ("input_tokens", "cached_tokens", "output_tokens", "cost_microusd")


def midnight(now: float, days: int) -> float:
    """When the first of the last `days` days in UTC begins."""
    return (now // DAY_S - days + 1) * DAY_S


def edges(now: float) -> list[models.GatewayCall]:
    """Calls in the first and the last moment of a day."""
    rows = call_rows(now, 2, seed=9)
    rows[0].id, rows[0].started_at = "edge-first", midnight(now, 7)
    rows[1].id, rows[1].started_at = "edge-before", midnight(now, 7) - 0.001
    return rows


@pytest.fixture
def rows(reader: Reader) -> Sequence[models.GatewayCall]:
    """Calls that are stored, as they were made."""

    async def store() -> None:
        async with reader.server.stores.database.write() as session:
            session.add_all([*key_rows(reader.now), *call_rows(reader.now), *edges(reader.now)])

    reader.server.run(store())
    return [*call_rows(reader.now), *edges(reader.now)]


def rank(values: Sequence[float], percent: int) -> float | None:
    """The value at floor(percent / 100 * count), counted from 0."""
    return sorted(values)[len(values) * percent // 100] if values else None


def expected(rows: Sequence[models.GatewayCall]) -> dict[str, Any]:
    """The sums of these rows, counted one by one."""
    times = [row.ttft_ms for row in rows if row.ttft_ms is not None]
    outcomes = {
        name: sum(row.outcome == word for row in rows)
        for name, word in (
            *((name, name) for name in ("ok", "cancelled", "failed", "refused", "lost")),
            ("running", ""),
        )
    }
    return {
        "calls": len(rows),
        **outcomes,
        **{name: sum(getattr(row, name) for row in rows) for name in SUMS},
        "ttft_p50_ms": rank(times, 50),
        "ttft_p95_ms": rank(times, 95),
    }


def compare(shown: dict[str, Any], rows: Sequence[models.GatewayCall]) -> None:
    wanted = expected(rows)
    for name, value in wanted.items():
        assert shown[name] == (pytest.approx(value) if value is not None else None), name


@pytest.mark.parametrize("days", [1, 7, 30])
def test_sums_by_every_dimension_are_those_of_the_rows(
    reader: Reader, rows: Sequence[models.GatewayCall], days: int
) -> None:
    counted = [row for row in rows if row.started_at >= midnight(reader.now, days)]
    for by, value_of in VALUES.items():
        data = reader.json(f"/usage.json?by={by}&days={days}")
        groups: dict[str, list[models.GatewayCall]] = defaultdict(list)
        for row in counted:
            groups[value_of(row)].append(row)
        shown = {one["row"]["value"]: one["row"] for one in data["table"]["rows"]}
        assert shown.keys() == groups.keys(), by
        assert data["table"]["count"] == len(groups)
        for value, group in groups.items():
            compare(shown[value], group)
        compare(data["totals"], counted)
        order = [one["row"] for one in data["table"]["rows"]]
        if by == "day":
            assert [row["value"] for row in order] == sorted(shown, reverse=True)
        else:
            tokens = [row["input_tokens"] + row["output_tokens"] for row in order]
            assert tokens == sorted(tokens, reverse=True)


def test_filters_stay_in_the_address_and_narrow_to_the_row_that_was_chosen(
    reader: Reader, rows: Sequence[models.GatewayCall]
) -> None:
    counted = [row for row in rows if row.started_at >= midnight(reader.now, 30)]
    for by in ("model", "target", "agent", "key", "person"):
        listed = reader.json(f"/usage.json?by={by}&days=30&outcome=ok")["table"]["rows"]
        for one in listed:
            address = urlsplit(one["href"])
            asked = dict(parse_qsl(address.query))
            assert asked["days"] == "30" and asked["outcome"] == "ok" and asked["by"] == "day"
            data = reader.json(f"/usage.json?{address.query}")
            value = one["row"]["value"]
            fits = [r for r in counted if VALUES[by](r) == value and r.outcome == "ok"]
            compare(data["totals"], fits)
            assert [n["name"] for n in data["narrowed"]] == [by]
            page = reader.page(one["href"])
            assert one["row"]["label"] in page.text
    running = reader.json("/usage.json?days=30&outcome=running")["totals"]
    compare(running, [row for row in counted if row.outcome == ""])


def test_words_that_mean_nothing_count_as_left_out(
    reader: Reader, rows: Sequence[models.GatewayCall]
) -> None:
    plain = reader.json("/usage.json")
    odd = reader.json("/usage.json?by=secret_hash&days=100000&outcome=%00")
    assert odd["totals"] == plain["totals"] and odd["by"] == "day"
    nothing = reader.page("/usage?model=nothing-like-it")
    assert "No calls found" in nothing.text


def test_the_page_shows_names_money_and_times_of_its_rows(
    reader: Reader, rows: Sequence[models.GatewayCall]
) -> None:
    data = reader.json("/usage.json?by=key&days=30")
    page = reader.page("/usage?by=key&days=30")
    names = {"key-1": "without bounds", "key-2": "half used", NOBODY: "Without a key"}
    for one in data["table"]["rows"]:
        row = one["row"]
        assert row["label"] == names.get(row["value"], row["label"])
        text = page.row_of(one["href"]).text
        assert text.startswith(f"{row['label']} {row['calls']} ")
        for name in ("failed", "refused", "cancelled", "lost", "running"):
            assert (f"{row[name]} {name}" in text) == (row[name] > 0)
        dollars = row["cost_microusd"] / 1e6
        assert (f"${dollars:.2f}" if dollars >= 1 else f"${dollars:.6f}".rstrip("0")) in text


def test_the_csv_has_the_same_rows_and_no_formulas(
    reader: Reader, rows: Sequence[models.GatewayCall]
) -> None:
    answer = reader.http.get("/usage.csv?by=person&days=30")
    assert answer.headers["content-type"].startswith("text/csv")
    assert "usage-by-person-30-days.csv" in answer.headers["content-disposition"]
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    data = [one["row"] for one in reader.json("/usage.json?by=person&days=30")["table"]["rows"]]
    assert len(lines) == len(data)
    for line, row in zip(lines, data, strict=True):
        assert line["person"].lstrip("'") == row["value"]
        assert not line["person"].startswith("=") and not line["name"].startswith("=")
        assert float(line["cost_usd"]) * 1e6 == pytest.approx(row["cost_microusd"])
        assert int(line["calls"]) == row["calls"]


def test_a_table_is_bounded_and_says_how_many_there_are(reader: Reader) -> None:
    async def store() -> None:
        made = call_rows(reader.now, ROWS_MAX + 5)
        for number, row in enumerate(made):
            row.started_at, row.person = reader.now, f"person-{number}"
        async with reader.server.stores.database.write() as session:
            session.add_all(made)

    reader.server.run(store())
    data = reader.json("/usage.json?by=person&days=1")
    assert len(data["table"]["rows"]) == ROWS_MAX
    assert data["table"]["count"] == ROWS_MAX + 5 == data["totals"]["calls"]
    assert f"of {ROWS_MAX + 5}" in reader.page("/usage?by=person&days=1").text
