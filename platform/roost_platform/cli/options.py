"""What commands share: the data folder option, settings, the connection to a running stack."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from roost_platform.cli.api_client import ApiClient
    from roost_platform.settings.config import Settings

Data = Annotated[
    Path | None,
    typer.Option(
        "--data", help="Data folder; default ROOST_DATA_DIR, else ~/.roost.", show_default=False
    ),
]


def refuse(message: str, code: int = 1) -> NoReturn:
    """Print the message to stderr, without secrets, and end with this exit code."""
    from roost_platform.masking import mask
    from roost_platform.terminal import for_stream

    print(for_stream(f"roost: {mask(message)}", sys.stderr), file=sys.stderr)
    sys.exit(code)


def keep_private() -> None:
    """Let only the owner read the files that this process writes: conversations, tokens, logs."""
    os.umask(0o077)


def read_settings(data: Path | None, overrides: Mapping[str, Any] | None = None) -> "Settings":
    """The settings; those of the command line win."""
    from roost_platform.settings.config import load_settings

    values = dict(overrides or {})
    if data is not None:
        values["data_dir"] = data
    return load_settings(values)


def settings_in_use(data: Path | None) -> "Settings":
    """The settings of the stack that runs on this folder, else those of its next start."""
    from roost_platform.data_folder.settings_in_use import look

    return look(data).settings


@contextmanager
def connect(data: Path | None) -> Iterator["ApiClient"]:
    """A client of the stack that runs on this folder; raises StackNotFound."""
    from roost_platform.cli.api_client import ApiClient
    from roost_platform.data_folder import running_stack
    from roost_platform.data_folder.settings_in_use import look

    found = look(data)
    settings = found.settings
    host = "127.0.0.1" if settings.web.host in ("0.0.0.0", "::", "") else settings.web.host
    stack = running_stack.find(
        settings.data_dir,
        explicit=found.is_named,
        web_url=f"http://{host}:{settings.web.port}",
    )
    with ApiClient(stack.url, stack.token) as api:
        yield api
