"""`roost profile`: settings of the bundled core by name, and how fast they were here."""

import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roost_platform.cli.look import AsJson
from roost_platform.cli.options import Data, read_settings, refuse, settings_in_use
from roost_platform.cli.tables import show

if TYPE_CHECKING:
    from roost_inference.profiles.profile import Profile
    from roost_inference.profiles.records import Record, Records
    from roost_platform.settings.config import Settings

profile = typer.Typer(
    no_args_is_help=True, help="Settings of the bundled core by name, and how fast they are here."
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="The profile's name; see list.")]


@profile.command("list")
def list_profiles(data: Data = None, as_json: AsJson = False) -> None:
    """List the profiles, the one in use, and what each was measured to do on this machine."""
    from roost_inference.profiles.profile import CUSTOM, profile_of
    from roost_platform.stack.checks.profile import figures_in_words

    settings = settings_in_use(data)
    known = _known(settings)
    used = profile_of(settings.engine, known)
    rows: list[dict[str, Any]] = []
    for one in [*known, *([used] if used.name == CUSTOM else [])]:
        record = _record(settings, one)
        rows.append(
            {
                "name": one.name,
                "used": one.name == used.name and not settings.engine.url,
                "settings": one.changes,
                "record": None if record is None else asdict(record),
            }
        )
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    shown = [
        (
            row["name"],
            "in use" if row["used"] else "",
            ", ".join(f"{key} {value}" for key, value in row["settings"].items()) or "the defaults",
            figures_in_words(row["record"] and row["record"]["last"]),
        )
        for row in rows
    ]
    show("", ("name", "", "settings", "here"), shown)


@profile.command()
def check(
    name: Name,
    data: Data = None,
    as_json: AsJson = False,
    again: Annotated[
        bool, typer.Option("--again", help="Drop the record: this measurement is the new one.")
    ] = False,
) -> None:
    """Measure a profile on this machine, for some seconds; exit 1 if it is 15 % off its record.

    With a running stack the engine's own last measurement is compared, so that both don't compete.
    """
    from roost_platform.data_folder.settings_in_use import look
    from roost_platform.stack.checks.profile import figures_in_words

    found = look(data)
    one = _find(found.settings, name)
    if found.is_running:
        if again:
            refuse("stop the stack first: its engine takes the processor that is to be measured")
        record = _record(found.settings, one)
        if record is None:
            refuse(
                f"{name}: not validated here. The engine measures the profile in use when nobody "
                "has used it for a minute; stop the stack to measure now"
            )
    else:
        record = _measured(found.settings, one, again=again)
    off = record.off()
    if as_json:
        print(json.dumps({"name": name, "off": off, **asdict(record)}, indent=2))
    else:
        print(f"{name}: {figures_in_words(asdict(record)['last'])}")
        for line in off:
            print(line)
    sys.exit(1 if off else 0)


@profile.command()
def use(name: Name, data: Data = None) -> None:
    """Write a profile's settings to roost.toml of the data folder; they count at the next start."""
    settings = read_settings(data)
    one = _find(settings, name)
    lines = ["[engine]", *(f"{key} = {json.dumps(value)}" for key, value in one.changes.items())]
    target = settings.data_dir / "roost.toml"
    file = settings.config_file or target
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    if file != target.absolute() and settings.config_file is not None:
        refuse(f"{file} is the file that is read; write there:\n" + "\n".join(lines))
    if _has_engine(text):
        refuse(f"{file} has an [engine] table of its own; write there:\n" + "\n".join(lines[1:]))
    if one.changes:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        joined = f"{text.rstrip()}\n\n" if text.strip() else ""
        part = target.with_name(f".roost.toml.{os.getpid()}.part")
        part.write_text(joined + "\n".join(lines) + "\n", encoding="utf-8")
        part.replace(target)
    print(f"{name} is used from the next start on")
    for key in one.changes:
        if os.environ.get(f"ROOST_ENGINE__{key.upper()}"):
            print(f"ROOST_ENGINE__{key.upper()} is set and wins", file=sys.stderr)


def _has_engine(text: str) -> bool:
    import tomllib

    return "engine" in tomllib.loads(text)


def _known(settings: "Settings") -> list["Profile"]:
    from roost_inference.errors import EngineError
    from roost_inference.profiles.profile import known_profiles

    try:
        return known_profiles(settings.data_dir / "profiles")
    except EngineError as error:
        refuse(error.message)


def _find(settings: "Settings", name: str) -> "Profile":
    from roost_inference.profiles.profile import CUSTOM, Profile

    if settings.engine.url:
        refuse(f"another engine answers, at {settings.engine.url}: profiles are the bundled core's")
    if name == CUSTOM:
        return Profile(CUSTOM, settings.engine)
    known = {one.name: one for one in _known(settings)}
    if name not in known:
        refuse(f"there is no profile {name!r}; there are: {', '.join([*known, CUSTOM])}")
    return known[name]


def _record(settings: "Settings", one: "Profile") -> "Record | None":
    """What is known of a profile here; None where its model was never prepared on this machine."""
    from roost_inference.profiles.profile import key_of
    from roost_inference.profiles.records import Records

    records = Records(settings.data_dir / "profiles")
    try:
        return records.get(key_of(_facts(records, settings, one)))
    except (OSError, LookupError):
        return None


def _facts(records: "Records", settings: "Settings", one: "Profile") -> dict[str, str]:
    """What names the record. Raises OSError without the model, LookupError without kernels."""
    from roost_inference.errors import EngineError
    from roost_inference.llama import builds

    model, draft = one.config.model, one.config.draft_model
    if model is None:
        converted = sorted((settings.data_dir / "models").glob("*.Q4_0.gguf"))
        if not converted:
            raise LookupError("the bundled model is not converted yet")
        model = converted[-1]
    try:
        build = builds.choose(settings.engine.kernels).build.id
    except EngineError as error:
        raise LookupError(error.message) from error
    drafts = "" if draft is None else records.sum_of(draft.expanduser())
    return one.facts(records.sum_of(model.expanduser()), drafts, build)


def _measured(settings: "Settings", one: "Profile", *, again: bool) -> "Record":
    """Load the engine here with this profile, measure it, and keep the figures."""
    from roost_inference.errors import EngineError
    from roost_inference.llama import builds
    from roost_inference.profiles.profile import key_of
    from roost_inference.profiles.records import Records
    from roost_inference.profiles.validation import Disturbed, measure

    builds.want(settings.engine.kernels)
    try:
        from roost_inference.loading import load_engine

        with tempfile.TemporaryDirectory(prefix="roost-profile-") as folder:
            # The model's fast copy is kept; the KV of the measurement is not.
            models = settings.data_dir / "models"
            models.mkdir(parents=True, exist_ok=True)
            (Path(folder) / "models").symlink_to(models.absolute())
            config = one.config.model_copy(update={"kernels": settings.engine.kernels})
            engine = load_engine(config, Path(folder))
            try:
                figures = measure(engine, lambda: False)
            finally:
                engine.close()
        records = Records(settings.data_dir / "profiles")
        facts = _facts(records, settings, one)
        if again:
            records.forget(key_of(facts))
        more = {**facts, "quantisation": engine.model.quantisation}
        return records.add(key_of(facts), one.name, more, figures)
    except (EngineError, Disturbed, OSError, LookupError) as error:
        refuse(f"{one.name} can't be measured: {error}")
