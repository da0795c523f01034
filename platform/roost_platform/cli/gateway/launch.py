"""`roost launch CLIENT`: a coding agent or another client on this gateway, with its own profile."""

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from roost_platform.cli.options import Data, connect, refuse
from roost_platform.errors import PlatformError

if TYPE_CHECKING:
    from roost_platform.cli.api_client import ApiClient
    from roost_platform.gateway.launch.client import Client, LaunchModel, Offer, Profile
    from roost_platform.settings.config import Settings

FOLDER = "launch"  # in the data folder: CLIENT/profile and CLIENT/program
EXPIRES = "12h"
EXIT_USAGE = 2
NAMES = "codex, claude, opencode, cline, llm"
NOT_MADE_YET = "sk-roost-MADE-AT-THE-START"


def launch(
    client: Annotated[str, typer.Argument(metavar="CLIENT", help=f"One of: {NAMES}.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[-- ARGS]", help="Arguments of the client.")
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="ALIAS", help="The one model it may use; default: all of them.")
    ] = "",
    expires: Annotated[
        str, typer.Option(help="When its key expires at the latest, such as 12h or 30d.")
    ] = EXPIRES,
    should_print: Annotated[
        bool, typer.Option("--print", help="Show what would be done, and do nothing.")
    ] = False,
    should_install: Annotated[
        bool, typer.Option("--install", help="Install the pinned version first, after asking.")
    ] = False,
    data: Data = None,
) -> None:
    """Start a client on this gateway: a profile of its own, and a key that ends with it."""
    from roost_platform.cli.gateway.keys import expiry
    from roost_platform.cli.options import settings_in_use
    from roost_platform.gateway.launch import install
    from roost_platform.gateway.launch.clients import CLIENTS

    known = CLIENTS.get(client)
    if known is None:
        refuse(f"There is no client {client!r}. The clients are: {NAMES}.", EXIT_USAGE)
    given = list(arguments or ())
    if taken := known.conflict(given):
        refuse(
            f"{taken!r} is decided by the profile of {known.title}; the model is chosen by "
            "`roost launch --model`.",
            EXIT_USAGE,
        )
    settings = settings_in_use(data)
    folder = settings.data_dir / FOLDER / known.name
    program = install.find(known, folder / "program")
    commands = install.install_commands(known, folder / "program")
    with connect(data) as api:
        if should_print:
            models = _models(api, settings, model)
            _print(known, _offer(api, folder, NOT_MADE_YET, models), given, program)
            return
        if should_install:
            program = _install(known, folder / "program")
        if program is None:
            refuse(
                f"{known.title} is not installed. Install its pinned version with `roost launch "
                f"{known.name} --install`, which runs:\n  {install.spelled(commands)}"
            )
        models = _models(api, settings, model)
        with _key(api, known, models, expiry(expires, time.time())) as key:
            code = _run(known, _offer(api, folder, key, models), given, program)
    sys.exit(code)


def _profile(client: "Client", offer: "Offer") -> "Profile":
    from roost_platform.gateway.launch import session

    profile = client.profile(offer)
    direct = session.without_proxy(offer.url, os.environ)
    return replace(profile, environment={**profile.environment, **direct})


def _run(client: "Client", offer: "Offer", given: list[str], program: Path) -> int:
    from roost_platform.gateway.launch import session

    profile = _profile(client, offer)
    session.write(profile)
    environment = session.environment_of(profile, os.environ)
    return session.run(program, (*profile.arguments, *given), environment)


def _print(client: "Client", offer: "Offer", given: list[str], program: Path | None) -> None:
    """Show files, variables and the command; the key is made at the start."""
    from roost_platform.gateway.launch import install

    profile = _profile(client, offer)
    if program is None:
        commands = install.install_commands(client, offer.folder.parent / "program")
        print(f"# {client.title} is not installed; --install runs\n{install.spelled(commands)}\n")
    for file, text in profile.files.items():
        print(f"# {file}\n{text.rstrip()}\n")
    print("# environment")
    for name in profile.unset:
        print(f"unset {name}")
    for name, value in profile.environment.items():
        print(f"export {name}={shlex.quote(value)}")
    command = (str(program or client.program), *profile.arguments, *given)
    print(f"\n# command\n{shlex.join(command)}")


def _offer(api: "ApiClient", folder: Path, key: str, models: "list[LaunchModel]") -> "Offer":
    from roost_platform.gateway.launch.client import Offer

    return Offer(url=api.url, key=key, folder=folder / "profile", models=models)


def _install(client: "Client", folder: Path) -> Path:
    from roost_platform.gateway.launch import install

    print(install.spelled(install.install_commands(client, folder)), file=sys.stderr)
    if not sys.stdin.isatty() or not typer.confirm(f"Install {client.package}?", err=True):
        raise PlatformError("Nothing was installed. Say yes on a terminal, or run the command.")
    return install.install(client, folder)


@contextlib.contextmanager
def _key(
    api: "ApiClient", client: "Client", models: "list[LaunchModel]", expires_at: float
) -> Iterator[str]:
    """A key for these models, which is revoked when the client has ended."""
    body: dict[str, Any] = {
        "name": f"launch {client.name} {time.strftime('%Y-%m-%d %H:%M:%S')} {os.getpid()}",
        "models": [model.name for model in models],
        "expires_at": expires_at,
    }
    made = api.post("/api/keys", body)
    try:
        yield made["key"]
    finally:
        # If the stack has gone meanwhile, the key expires by itself.
        with contextlib.suppress(PlatformError):
            api.post(f"/api/keys/{quote(made['id'], safe='')}/revoke")


def _models(api: "ApiClient", settings: "Settings", wanted: str) -> "list[LaunchModel]":
    """The models of these settings, the default one first; the wanted one alone if there is one."""
    from roost_platform.gateway.config import BUNDLED
    from roost_platform.gateway.launch.client import LaunchModel

    providers = api.get("/api/models")["providers"]
    engine_window = next((one["context_tokens"] for one in providers if one["is_ours"]), None)
    if engine_window is None and not settings.engine.url:  # it is away
        engine_window = settings.engine.request_context_length or settings.engine.context_length
    found = {BUNDLED: LaunchModel(BUNDLED, engine_window)}
    for name, config in settings.models.items():
        is_bundled = all(target.provider == BUNDLED for target in config.targets)
        window = config.context_tokens or (engine_window if is_bundled else None)
        found[name] = LaunchModel(name, window)
    if wanted:
        return [found.get(wanted) or LaunchModel(wanted)]
    first = settings.gateway.default_model or next(iter(settings.models), BUNDLED)
    return [
        found.get(first) or LaunchModel(first),
        *(model for name, model in found.items() if name != first),
    ]
