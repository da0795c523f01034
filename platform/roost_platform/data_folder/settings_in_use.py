"""The settings that a stack runs with, kept in its data folder for the commands that look at it.

`roost up` and each `roost serve X` write what they were given. So `roost status`, `doctor`,
`settings`, `admin` and `backup` need only the folder, and not the environment of the start.
"""

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from roost_platform.data_folder import running_stack
from roost_platform.data_folder.process_identity import is_running, start_of
from roost_platform.data_folder.running_stack import RunningStack
from roost_platform.errors import ConfigError
from roost_platform.settings.config import (
    Settings,
    default_data_dir,
    load_settings,
    walk_fields,
)
from roost_platform.settings.sources import Kept

UP = "up"
# Whose settings are taken, the first that runs; they know the whole stack, the others a part of it.
KNOWING = (UP, "web", "courier", "worker")
FOLDER = "run"
ENDING = ".settings.json"


@dataclass(frozen=True, slots=True)
class Record:
    """What one process was started with. started: see process_identity; at: seconds, epoch.

    import_path: where it finds modules, for agents and channels of one's own.
    derived: paths of values that it chose for this run, such as free ports.
    """

    part: str
    pid: int
    started: str
    host: str
    at: float
    values: Mapping[str, Any]
    origins: Mapping[str, str]
    import_path: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()

    @property
    def is_running(self) -> bool:
        """Whether its process still runs on this machine."""
        return self.host == socket.gethostname() and is_running(self.pid, self.started)


@dataclass(frozen=True, slots=True)
class InUse:
    """The settings that count for a data folder now.

    run: what `roost up` says of itself; None if it does not run here.
    is_running: whether they are those of a stack that runs, or of a part of one.
    is_named: whether the user named the folder.
    is_here: whether the stack was last started on this machine, so that its pids mean something.
    problem: why the caller's own settings, which did not count, can't be read.
    """

    settings: Settings
    run: RunningStack | None
    is_running: bool
    is_named: bool
    is_here: bool = False
    problem: str = ""


def keep(settings: Settings, part: str, *, given: Settings | None = None) -> None:
    """Write what this process was started with, for its owner only: it may hold passwords.

    given: what the user gave, where `settings` has more that was chosen for this run alone.
    A folder that can't be written is left as it is; commands then need the settings again.
    """
    record = Record(
        part=part,
        pid=os.getpid(),
        started=start_of(os.getpid()),
        host=socket.gethostname(),
        at=time.time(),
        values=_portable(settings),
        origins=settings.origins,
        import_path=tuple(os.path.abspath(entry) for entry in sys.path),
        derived=() if given is None else _changed(given, settings),
    )
    file = _file(settings.data_dir, part)
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        running_stack.write_private(file, json.dumps(asdict(record), default=str))


def look(data: Path | None, environ: Mapping[str, str] | None = None) -> InUse:
    """Return what counts for a folder: of a running stack its own settings, else the caller's.

    The caller's are completed by those that the stack was last started with. Raises ConfigError.
    """
    env = os.environ if environ is None else environ
    overrides: dict[str, Any] = {} if data is None else {"data_dir": data}
    problem = ""
    try:
        own = load_settings(overrides, environ=env)
        folder, is_named = own.data_dir, own.origin("data_dir") != "default"
    except ConfigError as error:
        problem = str(error)
        named = data or env.get("ROOST_DATA_DIR")
        folder = Path(named or default_data_dir()).expanduser().absolute()
        is_named = named is not None
    located = running_stack.locate(folder, explicit=is_named)
    folder, run = located or (folder, None)
    record = _record_of(folder, run)
    runs = record is not None and (run is not None or record.is_running)
    if record is None:
        if problem:
            raise ConfigError(problem)
        settings = own if run is None else _with_ports(own, folder, run)
        return InUse(settings, run, run is not None, is_named)
    if not runs and problem:
        raise ConfigError(problem)
    sys.path += [entry for entry in record.import_path if entry not in sys.path]
    origins = record.origins if runs else _of_start(record)
    values = record.values if runs else _only(record.values, origins)
    kept = Kept(values, {path: f"{where} of the stack" for path, where in origins.items()}, runs)
    overrides = {**overrides, "data_dir": folder} if runs or located else overrides
    settings = load_settings(overrides, environ=env, kept=kept)
    return InUse(settings, run, runs, is_named, record.host == socket.gethostname(), problem)


def settings_of_part(part: str, data: Path | None) -> Settings:
    """Return the settings of one part: the caller's, completed by those it was started with."""
    own = load_settings({} if data is None else {"data_dir": data})
    record = _read(own.data_dir, part) or _read(own.data_dir, UP)
    if record is None:
        return own
    origins = _of_start(record)
    kept = Kept(_only(record.values, origins), origins)
    return load_settings({"data_dir": own.data_dir}, kept=kept)


def running_parts(data_dir: Path) -> dict[str, int]:
    """Return the pids of the processes of Roost that run on this folder on this machine."""
    files = (data_dir / FOLDER).glob(f"*{ENDING}")
    records = [_read(data_dir, file.name.removesuffix(ENDING)) for file in files]
    return {one.part: one.pid for one in records if one is not None and one.is_running}


def _record_of(folder: Path, run: RunningStack | None) -> Record | None:
    if run is not None:
        record = _read(folder, UP)
        return record if record is not None and record.pid == run.pid else None
    records = [one for part in KNOWING if (one := _read(folder, part))]
    running = [one for one in records if one.is_running]
    knowing = [one for one in records if one.part in (UP, "web")] or records
    return next(iter(running), None) or max(knowing, key=lambda one: one.at, default=None)


def _read(data_dir: Path, part: str) -> Record | None:
    try:
        record = Record(**json.loads(_file(data_dir, part).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return record


def _file(data_dir: Path, part: str) -> Path:
    return data_dir / FOLDER / f"{part}{ENDING}"


def _portable(settings: Settings) -> dict[str, Any]:
    """The given values with absolute paths: other commands run in other folders."""
    values: dict[str, Any] = json.loads(json.dumps(settings.given, default=str))
    for path, field in walk_fields(type(settings)):
        *sections, name = path.split(".")
        group: Any = values
        for section in sections:
            group = group.get(section, {})
        value = group.get(name)
        if isinstance(value, str) and "Path" in str(field.annotation):
            group[name] = str(Path(value).expanduser().absolute())
    return values


def _of_start(record: Record) -> dict[str, str]:
    """What only the start knew: the file can be read again, and may have changed since."""
    return {
        path: where
        for path, where in record.origins.items()
        if not where.startswith("/") and path not in record.derived
    }


def _changed(given: Settings, settings: Settings) -> tuple[str, ...]:
    """The paths of values that the user did not give, or gave otherwise."""
    before = dict(_leaves(given.given, given.origins))
    after = _leaves(settings.given, settings.origins)
    return tuple(path for path, value in after if str(before.get(path)) != str(value))


def _leaves(
    values: Mapping[str, Any], origins: Mapping[str, str], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        path = f"{prefix}{key}"
        if path in origins:
            yield path, value
        elif isinstance(value, Mapping):
            yield from _leaves(value, origins, f"{path}.")


def _only(values: Mapping[str, Any], origins: Mapping[str, str], prefix: str = "") -> Any:
    """The values whose paths have an origin."""
    kept: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        if path in origins:
            kept[key] = value
        elif isinstance(value, Mapping):
            kept[key] = _only(value, origins, f"{path}.")
    return kept


def _with_ports(settings: Settings, folder: Path, run: RunningStack) -> Settings:
    """The settings with the ports that the running stack chose."""
    web = settings.web.model_copy(update={"port": run.web})
    engine = settings.engine.model_copy(update={"port": run.engine} if run.engine else {})
    address = f"127.0.0.1:{run.temporal}" if run.temporal else settings.temporal.address
    temporal = settings.temporal.model_copy(update={"address": address})
    update = {"data_dir": folder, "web": web, "engine": engine, "temporal": temporal}
    return settings.model_copy(update=update)
