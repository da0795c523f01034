"""`roost backup` and `roost restore`: everything in one file, and back."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from roost_platform.cli.options import Data, read_settings, settings_in_use


def add_to(app: typer.Typer) -> None:
    """Register the commands on the root."""
    for command in (backup, restore):
        app.command()(command)


def backup(
    file: Annotated[Path, typer.Argument(help="The new file; - writes to stdout.")],
    data: Data = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Keep database, files and keys in one file, also while Roost runs. It holds secrets."""
    from roost_platform.backups.backup import backup as make_backup

    made = asyncio.run(make_backup(settings_in_use(data), file, force=force))
    print(f"kept {made}", file=sys.stderr)


def restore(
    file: Annotated[Path, typer.Argument(help="A file of `roost backup`; - reads stdin.")],
    data: Data = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Replace what is there. Old files are moved into a folder before-restore-…, "
            "tables on a server are dropped.",
        ),
    ] = False,
) -> None:
    """Restore a backup into an empty data folder and database, while Roost is stopped."""
    from roost_platform.backups.restore import restore as restore_backup

    # Named in any case: another stack that runs elsewhere is not meant.
    settings = settings_in_use(data or read_settings(None).data_dir)
    restored = asyncio.run(restore_backup(settings, file, force=force))
    print(f"restored {restored} to {settings.data_dir}; start it with `roost up`", file=sys.stderr)
