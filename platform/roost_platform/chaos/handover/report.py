"""What kills of engines that hand KV over have shown, in a few lines."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class KillReport:
    """kills: by the point and who died. offers: of the prefill engine. fetched: answers that used
    its KV. leases: left after twice their time."""

    seed: int
    requests: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    offers: int = 0
    fetched: int = 0
    wrong: list[str] = field(default_factory=list)
    leases: int = 0
    wall_s: float = 0.0

    @property
    def violations(self) -> list[str]:
        """What must not be."""
        left = [f"{self.leases} leases are left after twice their time"] if self.leases else []
        return [*self.wrong, *left]


def kill_lines(report: KillReport) -> Sequence[str]:
    """The report for people."""
    total = sum(report.kills.values())
    lines = [
        f"hand-over: {report.requests} prompts from seed {report.seed}, {report.offers} offers,"
        f" {report.fetched} answers with fetched KV,"
        f" {total} kills in {report.wall_s:.0f} s: {len(report.wrong)} wrong answers,"
        f" {report.leases} leases left"
    ]
    lines += [f"  {count:4} {point}" for point, count in sorted(report.kills.items())]
    lines += [f"  WRONG {one}" for one in report.violations[:20]]
    return lines
