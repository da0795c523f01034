"""What every scenario works with: sizes, the model, texts, a folder, and the run it adds to."""

import random
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from roost_inference.benchmarking.figures import Figure, Goal
from roost_inference.benchmarking.parameters import Parameters
from roost_inference.benchmarking.report import BenchmarkRun
from roost_inference.benchmarking.ruler import Ruler
from roost_inference.llama.quantize import bundled_model, requantised

NO_GOALS: Mapping[str, Goal] = {}


@dataclass(slots=True)
class Bench:
    """One `make bench`."""

    parameters: Parameters
    model: Path
    folder: Path
    ruler: Ruler
    run: BenchmarkRun
    _seeds: random.Random = field(default_factory=lambda: random.Random(20_26))

    def text(self, tokens: int) -> str:
        """A text of this many tokens that no other request of the run begins with."""
        return self.ruler.text(tokens, self._seeds.getrandbits(32))

    def seed(self) -> int:
        """The next seed of the run; the same run gives the same seeds."""
        return self._seeds.getrandbits(32)

    def add(
        self,
        figure: Figure,
        others: Mapping[str, float] | None = None,
        goals: Mapping[str, Goal] = NO_GOALS,
    ) -> None:
        """Add the figure once for each value to compare with; goals by the name of the other."""
        if not others:
            self.run.add(figure)
        for name, other in (others or {}).items():
            self.run.add(
                Figure(
                    figure.scenario,
                    figure.name,
                    figure.value,
                    figure.unit,
                    figure.lower_is_better,
                    name,
                    other,
                    goals.get(name),
                )
            )


def open_bench(parameters: Parameters, folder: Path) -> Bench:
    """Finds the model, or makes its fast copy in the folder. Raises EngineUnavailable."""
    model = parameters.model or requantised(bundled_model(), folder / "models", parameters.threads)
    run = BenchmarkRun(model.stem, parameters.threads)
    if parameters.llama_server is not None:
        run.peers.append(f"llama-server {_version(parameters.llama_server)}")
    if parameters.peer_url is not None:
        run.peers.append(parameters.peer_url)
    return Bench(parameters, model, folder, Ruler(model), run)


def _version(program: Path) -> str:
    """The version it prints, "of unknown version" if none."""
    result = subprocess.run(
        [str(program), "--version"], capture_output=True, text=True, check=False, timeout=30
    )
    for text in (result.stderr + result.stdout).splitlines():
        if text.startswith("version:"):
            return text.removeprefix("version:").strip()
    return "of unknown version"
