"""What a run leaves behind: a section in a page, and a chart that says what it was measured on."""

from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

from roost_inference.benchmarking import chart, report
from roost_inference.benchmarking.figures import Figure, Goal

TTFT = Figure(
    "sessions", "TTFT p50", 400.0, "ms", True, "llama-server defaults", 2000.0, Goal(4, 6)
)
BEST = Figure("sessions", "TTFT p50", 400.0, "ms", True, "llama-server <best>", 1000.0, Goal(3, 4))
GAP = Figure("stall", "worst gap", 90.0, "ms", goal=Goal(200, 120))
RECOMPUTE = Figure("tiers", "load", 2.0, "ms", True, "recompute", 600.0)


def run_of(*figures: Figure, load: float = 0.1) -> report.BenchmarkRun:
    return report.BenchmarkRun(
        model="small.Q4_0",
        threads=2,
        started=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        load=(load, 0.2, 0.3),
        cores=2,
        cpu="Some & CPU",
        peers=["llama-server 1"],
        figures=list(figures),
    )


def test_a_section_has_one_table_with_ratio_goal_and_whether_it_was_reached() -> None:
    text = report.section(run_of(TTFT, BEST, GAP))
    assert text.startswith("## 2026-01-02 03:04 UTC\n\nSome & CPU, 2 cores, 2 threads")
    assert (
        "| sessions | TTFT p50 | 400 ms | llama-server defaults: 2000 ms | 5.00x | 4x | 6x | yes |"
        in text
    )
    assert "| 2.50x | 3x | 4x | no |" in text
    assert "| stall | worst gap | 90 ms |  |  | 200 ms | 120 ms | yes |" in text
    assert text.count("| scenario |") == 1


def test_a_busy_machine_is_said_to_be_busy() -> None:
    assert "absolute figures are too slow" in report.section(run_of(GAP, load=1.1))
    assert "absolute figures" not in report.section(run_of(GAP, load=0.9))


def test_what_was_left_out_is_written_down(capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(GAP)
    run.note("tiers: not measured")
    assert report.section(run).endswith("\n* tiers: not measured\n")
    assert "tiers: not measured" in capsys.readouterr().out


def test_runs_are_appended_and_earlier_ones_stay(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "benchmarks.md"
    report.append(page, run_of(GAP))
    first = page.read_text()
    report.append(page, run_of(TTFT))
    assert first.startswith("# Benchmarks\n\n## 2026")
    assert page.read_text() == first + "\n" + report.section(run_of(TTFT))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.7853, "", "0.785"), (12.34, "ms", "12.3 ms"), (1679.4, "ms", "1679 ms"), (0, "s", "0 s")],
)
def test_quantities_are_written_in_three_digits(value: float, unit: str, text: str) -> None:
    assert report.quantity(value, unit) == text


def test_a_figure_is_printed_as_it_comes(capsys: pytest.CaptureFixture[str]) -> None:
    run_of().add(TTFT)
    printed = capsys.readouterr().out
    assert "TTFT p50: 400 ms, llama-server defaults 2000 ms → 5.00x" in printed
    assert "(at least 4x, aim 6x: reached)" in printed


def test_the_chart_shows_each_quantity_once_with_all_it_was_compared_with() -> None:
    (panel,) = chart.panels([TTFT, BEST, GAP, RECOMPUTE])
    assert [bar.label for bar in panel.bars] == [
        "Roost",
        "llama-server defaults",
        "llama-server <best>",
    ]
    assert [bar.value for bar in panel.bars] == [400.0, 2000.0, 1000.0]


def test_bars_are_as_long_as_their_values() -> None:
    image = chart.chart(run_of(TTFT, BEST))
    assert image is not None
    bars = ElementTree.fromstring(image).findall("{http://www.w3.org/2000/svg}rect")
    widths = [float(bar.attrib["width"]) for bar in bars]
    assert widths == pytest.approx([0.2 * chart.BAR_WIDTH, chart.BAR_WIDTH, 0.5 * chart.BAR_WIDTH])


def test_the_chart_says_what_was_measured_and_on_what() -> None:
    image = chart.chart(run_of(TTFT, BEST)) or ""
    text = "".join(ElementTree.fromstring(image).itertext())
    assert "2026-01-02, small.Q4_0, Some & CPU, 2 cores, load average 0.10" in text
    assert "llama-server <best>" in text


def test_a_bar_of_zero_is_still_seen() -> None:
    nothing = Figure("s", "n", 0.0, "", False, "llama-server", 0.0)
    image = chart.chart(run_of(nothing)) or ""
    assert image.count('width="1.0"') == 2


def test_without_llama_server_there_is_no_chart() -> None:
    assert chart.chart(run_of(GAP, RECOMPUTE)) is None
    with pytest.raises(ValueError, match="nothing"):
        chart.svg([], "")
