"""Bars in SVG from a run's figures, for the README; readable on light and dark pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from roost_inference.benchmarking.figures import Figure
from roost_inference.benchmarking.report import BenchmarkRun, quantity
from roost_inference.benchmarking.servers import LLAMA, OURS

WIDTH = 760
LABEL_WIDTH = 190
BAR_WIDTH = 460
BAR_HEIGHT = 16
BAR_GAP = 6
TITLE_HEIGHT = 30
PANEL_GAP = 14
MARGIN = 16

_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-weight:600}"
    ".small{font-size:11px;fill:#57606a}.ours{fill:#0f766e}.theirs{fill:#9aa4af}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9198a1}"
    ".ours{fill:#2dd4bf}.theirs{fill:#6e7681}}"
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One value and whose it is."""

    label: str
    value: float
    is_ours: bool


@dataclass(frozen=True, slots=True)
class ChartPanel:
    """Bars of one quantity, on a scale of their own from 0."""

    title: str
    unit: str
    bars: tuple[Bar, ...]


def panels(figures: Sequence[Figure]) -> list[ChartPanel]:
    """One panel for each quantity that was compared with llama-server, in the order measured."""
    groups: dict[tuple[str, str], list[Figure]] = {}
    for figure in figures:
        if figure.other is not None and figure.against.startswith(LLAMA):
            groups.setdefault((figure.scenario, figure.name), []).append(figure)
    return [_panel(group) for group in groups.values()]


def _panel(group: Sequence[Figure]) -> ChartPanel:
    first = group[0]
    better = "less" if first.lower_is_better else "more"
    theirs = [Bar(f.against, f.other, False) for f in group if f.other is not None]
    title = f"{first.scenario}: {first.name} ({better} is better)"
    return ChartPanel(title, first.unit, (Bar(OURS, first.value, True), *theirs))


def svg(shown: Sequence[ChartPanel], caption: str) -> str:
    """The panels below each other. Raises ValueError without any."""
    if not shown:
        raise ValueError("a chart of nothing")
    parts: list[str] = []
    top = MARGIN
    for panel in shown:
        parts.append(_text(MARGIN, top + 14, panel.title, "title"))
        top += TITLE_HEIGHT - 6
        longest = max(bar.value for bar in panel.bars) or 1.0
        for bar in panel.bars:
            parts += _bar(bar, panel.unit, bar.value / longest, top)
            top += BAR_HEIGHT + BAR_GAP
        top += PANEL_GAP
    parts.append(_text(MARGIN, top + 10, caption, "small"))
    height = top + MARGIN + 6
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" aria-label="Roost and llama-server compared">'
        f"<style>{_STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def chart(run: BenchmarkRun) -> str | None:
    """The run's chart; None if it was not compared with llama-server."""
    shown = panels(run.figures)
    if not shown:
        return None
    load = f"load average {run.load[0]:.2f} at the start"
    caption = f"{run.started:%Y-%m-%d}, {run.model}, {run.cpu}, {run.cores} cores, {load}"
    return svg(shown, caption)


def _bar(bar: Bar, unit: str, share: float, top: float) -> list[str]:
    length = max(1.0, share * BAR_WIDTH)
    kind = "ours" if bar.is_ours else "theirs"
    left = MARGIN + LABEL_WIDTH
    return [
        _text(MARGIN, top + 13, bar.label, ""),
        f'<rect class="{kind}" x="{left}" y="{top}" width="{length:.1f}" height="{BAR_HEIGHT}" '
        'rx="2"/>',
        _text(left + length + 6, top + 13, quantity(bar.value, unit), ""),
    ]


def _text(left: float, baseline: float, text: str, kind: str) -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f'<text{attribute} x="{left:.1f}" y="{baseline:.1f}">{escape(text)}</text>'
