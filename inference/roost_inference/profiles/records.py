"""What profiles were measured to do on this machine, in a file of the data folder."""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from roost_inference.llama.machine import (
    physical_cores,
    processor_flags,
    processor_name,
    total_memory_bytes,
)

OFF_RECORD: Final = 0.15
RECORDS_MAX: Final = 64
SUMS_MAX: Final = 32
BLOCK_BYTES: Final = 2**22


@dataclass(frozen=True, slots=True)
class Figures:
    """One measurement. Speeds in tokens per second, times in ms. load_ms and compute_ms: until the
    first token of a prompt that comes back, from a tier and computed; load_ms None without tiers.
    is_equal: the answer to a prompt from cache is the answer to the computed one.
    """

    decode: float
    prefill: float
    compute_ms: float
    load_ms: float | None
    is_equal: bool
    at: float


@dataclass(frozen=True, slots=True)
class Record:
    """A profile on this machine. facts: the files' sums, the settings, the kernels and the weights'
    number format; first: what it was validated with; last: at the newest start."""

    name: str
    facts: Mapping[str, str]
    first: Figures
    last: Figures

    def off(self) -> list[str]:
        """What is further than OFF_RECORD from the first measurement, in words."""
        found = []
        for label, name in (("decode", "decode"), ("prefill", "prefill")):
            then, now = getattr(self.first, name), getattr(self.last, name)
            change = now / then - 1 if then else 0.0
            if abs(change) > OFF_RECORD:
                found.append(f"{label} {now:.1f} tokens/s, {change:+.0%} of its record {then:.1f}")
        if self.first.is_equal and not self.last.is_equal:
            found.append("answers from cache differ from computed ones")
        return found


def machine_fingerprint() -> str:
    """Names a kind of machine: its processor, cores and memory."""
    memory_gib = round((total_memory_bytes() or 0) / 2**30)
    facts = [processor_name(), sorted(processor_flags()), physical_cores(), memory_gib]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


class Records:
    """The file DATA/profiles/records.json; a damaged one counts as empty."""

    def __init__(self, folder: Path, machine: str | None = None) -> None:
        """folder: DATA/profiles. machine: see machine_fingerprint."""
        self._path = folder / "records.json"
        self._machine = machine or machine_fingerprint()

    def get(self, key: str) -> Record | None:
        """What is known of a profile on this machine; None where it is not validated."""
        return _record(_table(self._read(), "records").get(f"{self._machine} {key}"))

    def add(self, key: str, name: str, facts: Mapping[str, str], figures: Figures) -> Record:
        """Keep a measurement: the first one is the record, later ones are compared with it.
        Raises OSError."""
        old = self.get(key)
        first = figures if old is None else old.first
        record = Record(name, facts, first, figures)
        data = self._read()
        kept = {k: v for k, v in _table(data, "records").items() if k != f"{self._machine} {key}"}
        newest = dict([*kept.items()][-(RECORDS_MAX - 1) :])
        newest[f"{self._machine} {key}"] = asdict(record)
        self._write({**data, "records": newest})
        return record

    def forget(self, key: str) -> None:
        """Drop the record of a profile on this machine: the next measurement is the first."""
        data = self._read()
        kept = dict(_table(data, "records"))
        if kept.pop(f"{self._machine} {key}", None) is not None:
            self._write({**data, "records": kept})

    def sum_of(self, path: Path) -> str:
        """The file's sha256 in hex, remembered by its size and time. Raises OSError."""
        facts = path.stat()
        stamp = [facts.st_size, facts.st_mtime_ns]
        data = self._read()
        sums = dict(_table(data, "sums"))
        known = sums.pop(str(path), None)
        if isinstance(known, list) and known[:2] == stamp and len(known) == 3:
            return str(known[2])
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(BLOCK_BYTES):
                digest.update(chunk)
        sums = dict([*sums.items()][-(SUMS_MAX - 1) :])
        sums[str(path)] = [*stamp, digest.hexdigest()]
        self._write({**data, "sums": sums})
        return digest.hexdigest()

    def _read(self) -> Mapping[str, Any]:
        try:
            data = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

    def _write(self, data: Mapping[str, Any]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_name(f".records.{os.getpid()}.{time.monotonic_ns()}.part")
        try:
            part.write_text(json.dumps(data, indent=1), encoding="utf-8")
            part.replace(self._path)
        finally:
            part.unlink(missing_ok=True)


def _table(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = data.get(name)
    return value if isinstance(value, dict) else {}


def _record(entry: object) -> Record | None:
    """A record as `asdict` wrote it; None for anything else."""
    if not isinstance(entry, dict):
        return None
    try:
        first, last = (
            Figures(**{each.name: entry[when][each.name] for each in fields(Figures)})
            for when in ("first", "last")
        )
        facts = {str(name): str(value) for name, value in entry["facts"].items()}
        return Record(str(entry["name"]), facts, first, last)
    except (KeyError, TypeError, AttributeError):
        return None
