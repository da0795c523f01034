"""Energy is counted over all processors and over the counters' ends, or not told at all."""

from dataclasses import replace
from pathlib import Path

import pytest

from roost_inference.http.chat_service import EngineChatService
from roost_inference.http.report import energy
from roost_inference.profiles.energy import EnergyMeter
from roost_inference.testing.puppet import PuppetEngine


class Powercap:
    """A folder as Linux shows RAPL: zones with a name, a counter and its range."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def zone(self, zone: str, name: str, energy_uj: int, range_uj: int = 1_000_000_000) -> None:
        path = self.folder / zone
        path.mkdir(exist_ok=True)
        (path / "name").write_text(f"{name}\n")
        (path / "energy_uj").write_text(f"{energy_uj}\n")
        (path / "max_energy_range_uj").write_text(f"{range_uj}\n")


@pytest.fixture
def powercap(tmp_path: Path) -> Powercap:
    made = Powercap(tmp_path)
    made.zone("intel-rapl:0", "package-0", 100)
    made.zone("intel-rapl:0:0", "core", 100)
    made.zone("intel-rapl:1", "package-1", 900_000_000)
    made.zone("intel-rapl:2", "psys", 100)
    return made


def test_processors_are_added_and_their_parts_are_not(powercap: Powercap) -> None:
    meter = EnergyMeter(powercap.folder)
    assert meter.joules() == 0.0
    powercap.zone("intel-rapl:0", "package-0", 3_000_100)
    powercap.zone("intel-rapl:0:0", "core", 2_000_100)
    powercap.zone("intel-rapl:2", "psys", 9_000_100)
    assert meter.joules() == 3.0


def test_a_counter_that_starts_again_goes_on(powercap: Powercap) -> None:
    meter = EnergyMeter(powercap.folder)
    powercap.zone("intel-rapl:1", "package-1", 50_000_000)
    assert meter.joules() == 150.0
    powercap.zone("intel-rapl:1", "package-1", 60_000_000)
    assert meter.joules() == 160.0


def test_a_machine_that_does_not_tell_gives_nothing(powercap: Powercap, tmp_path: Path) -> None:
    assert EnergyMeter(tmp_path / "none").joules() is None
    meter = EnergyMeter(powercap.folder)
    (powercap.folder / "intel-rapl:0" / "energy_uj").write_text("")
    assert meter.joules() is None
    assert energy(PuppetEngine().stats(), None) == {}


def test_joules_are_shared_by_the_tokens_that_were_computed() -> None:
    idle = replace(
        PuppetEngine().stats(),
        prompt_tokens_total=0,
        cached_tokens_total=0,
        completion_tokens_total=0,
    )
    stats = replace(
        idle, prompt_tokens_total=1000, cached_tokens_total=900, completion_tokens_total=100
    )
    assert energy(stats, 50.0) == {"joules": 50.0, "joules_per_token": 0.25}
    assert energy(idle, 50.0) == {"joules": 50.0}


def test_health_tells_the_energy(powercap: Powercap) -> None:
    service = EngineChatService(PuppetEngine(), EnergyMeter(powercap.folder))
    powercap.zone("intel-rapl:0", "package-0", 2_000_100)
    status, body = service.health()
    assert status == 200
    assert body["energy"]["joules"] == 2.0
