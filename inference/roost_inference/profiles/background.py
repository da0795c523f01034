"""Validates the profile in use when nobody uses the engine, and stops for people."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from roost_inference.config import EngineConfig
from roost_inference.errors import EngineError
from roost_inference.profiles.profile import Profile, key_of, known_profiles, profile_of
from roost_inference.profiles.records import Record, Records
from roost_inference.profiles.validation import Disturbed, MeasuredEngine, is_idle, measure

IDLE_S: Final = 60.0
LOOK_S: Final = 5.0
TRIES_MAX: Final = 5
WAIT_MAX_S: Final = 6 * 3600.0
JOIN_S: Final = 5.0

log = logging.getLogger(__name__)


class BackgroundValidation:
    """One measurement after each start of the engine: the first on a machine is the record, later
    ones are compared with it. Gives up after TRIES_MAX disturbed tries and after WAIT_MAX_S."""

    def __init__(
        self,
        engine: MeasuredEngine,
        config: EngineConfig,
        folder: Path,
        *,
        idle_s: float = IDLE_S,
        look_s: float = LOOK_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """folder: DATA/profiles."""
        self._engine = engine
        self._config = config
        self._folder = folder
        self._idle_s, self._look_s, self._clock = idle_s, look_s, clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="validation", daemon=True)
        self._profile: Profile | None = None
        self._record: Record | None = None
        self._state = "waiting"

    def start(self) -> None:
        """Begin to wait for a quiet time."""
        self._thread.start()

    def stop(self) -> None:
        """Give up a measurement that runs, and return once its request has ended."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)

    def report(self) -> dict[str, Any]:
        """The profile in use, its record on this machine, and how the validation stands: waiting,
        measuring, done, or given up."""
        profile, record = self._profile, self._record
        return {
            "name": "" if profile is None else profile.name,
            "state": self._state,
            "record": None if record is None else asdict(record),
            "off": [] if record is None else record.off(),
        }

    def _run(self) -> None:
        try:
            records, facts = self._open()
            self._state = "done" if self._try(records, facts) else "given up"
        except (EngineError, OSError) as error:
            self._state = "given up"
            log.warning("the profile can't be validated: %s", error)

    def _open(self) -> tuple[Records, dict[str, str]]:
        """The records, and the facts of the profile in use. Reads a model once, for its sum."""
        self._profile = profile_of(self._config, known_profiles(self._folder))
        records = Records(self._folder)
        model = self._engine.model
        draft = self._config.draft_model
        facts = self._profile.facts(
            records.sum_of(Path(model.path)),
            "" if draft is None else records.sum_of(draft.expanduser()),
            model.build,
        )
        self._record = records.get(key_of(facts))
        return records, facts

    def _try(self, records: Records, facts: dict[str, str]) -> bool:
        """Measure when nobody is there, and again later where somebody came; False if in vain."""
        assert self._profile is not None
        give_up_at = self._clock() + WAIT_MAX_S
        for _ in range(TRIES_MAX):
            if not self._wait_for_quiet(give_up_at):
                return False
            self._state = "measuring"
            try:
                figures = measure(self._engine, self._stop.is_set)
            except Disturbed as reason:
                log.info("the profile is validated later: %s", reason)
                self._state = "waiting"
                continue
            more = {**facts, "quantisation": self._engine.model.quantisation}
            self._record = records.add(key_of(facts), self._profile.name, more, figures)
            log.info(
                "profile %s here: decode %.1f and prefill %.0f tokens/s",
                *(self._profile.name, figures.decode, figures.prefill),
            )
            return True
        return False

    def _wait_for_quiet(self, give_up_at: float) -> bool:
        """Wait until nothing was asked of the engine for `idle_s`; False if it stops first."""
        quiet_since, seen = self._clock(), -1
        while self._clock() < give_up_at:
            stats = self._engine.stats()
            asked = sum(stats.requests_total.values())
            if asked != seen or not is_idle(stats):
                quiet_since, seen = self._clock(), asked
            elif self._clock() - quiet_since >= self._idle_s:
                return True
            if self._stop.wait(self._look_s):
                return False
        return False
