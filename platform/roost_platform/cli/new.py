"""`roost new`: starting points for agents and flows, each with a test that passes."""

import keyword
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Annotated, Final, Literal

import typer

from roost_platform.cli import starting_points
from roost_platform.errors import NotMade

new = typer.Typer(no_args_is_help=True, help="Write a starting point with a test.")

Kind = Literal["agent", "flow"]
Name = Annotated[
    str, typer.Argument(help="Of lower-case letters, digits, - and _.", metavar="NAME")
]
Folder = Annotated[
    Path, typer.Option("--dir", help="Where the new folder is made; by default here.")
]
HERE: Final = Path(".")
# What of the new module stands for the agent.
ATTRIBUTES: Final[Mapping[Kind, str]] = {"agent": "agent", "flow": "run"}


@dataclass(frozen=True, slots=True)
class Made:
    """What was written. target: what ROOST_AGENTS takes, such as `travel_guide:agent`."""

    folder: Path
    target: str


@new.command()
def agent(name: Name, dir: Folder = HERE) -> None:
    """Write an agent with a tool and a test into a new folder."""
    _tell(name, make("agent", name, dir))


@new.command()
def flow(name: Name, dir: Folder = HERE) -> None:
    """Write a flow with its tools and a test into a new folder."""
    _tell(name, make("flow", name, dir))


def make(kind: Kind, name: str, where: Path) -> Made:
    """Write the files into the new folder `name` in `where`. Raises NotMade."""
    module = module_of(name)
    folder = where / name
    target = f"{module}:{ATTRIBUTES[kind]}"
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise NotMade(f"{folder} exists. Choose another name, or another folder with --dir.")
        folder.mkdir(parents=True, exist_ok=True)
        for source in (resources.files(starting_points) / kind).iterdir():
            file = source.name.removesuffix(".txt").replace("module", module)
            text = Template(source.read_text(encoding="utf-8"))
            with (folder / file).open("x", encoding="utf-8") as opened:
                opened.write(text.substitute(name=name, module=module, target=target))
    except OSError as error:
        raise NotMade(
            f"{folder} can't be written: {error.strerror}. Choose another folder with --dir."
        ) from error
    return Made(folder, target)


def module_of(name: str) -> str:
    """The Python module for an agent of this name. Raises NotMade for a name that can't be one."""
    from roost.agent import NAME  # heavy
    from roost.builtin.concierge import concierge

    if not NAME.fullmatch(name):
        proposed = "-".join(re.findall(r"[a-z0-9]+", name.lower()))[:64].rstrip("-")
        mend = f"Try {proposed}." if NAME.fullmatch(proposed) else "Try such as travel-guide."
        raise NotMade(
            f"{name!r} can't be a name: it begins with a lower-case letter and has up to 64 "
            f"lower-case letters, digits, _ or -. {mend}"
        )
    module = name.replace("-", "_")
    if keyword.iskeyword(module) or module in sys.stdlib_module_names or module == "test":
        raise NotMade(f"{module!r} is a word of Python's own. Try my-{name}.")
    if name == concierge.name:
        raise NotMade(f"Roost brings an agent named {name!r}. Try my-{name}.")
    if find_spec(module) is not None:
        raise NotMade(f"There is a Python module {module!r} already. Try my-{name}.")
    return module


def _tell(name: str, made: Made) -> None:
    print(f"made {made.folder}/")
    for file in sorted(path.name for path in made.folder.iterdir()):
        print(f"  {file}")
    # `make up` installs what runs agents, not what tests them.
    pytest = "" if find_spec("pytest") else f"  {sys.executable} -m pip install pytest\n"
    print(
        f"Next:\n"
        f"  cd {made.folder}\n"
        f"{pytest}"
        f"  python -m pytest\n"
        f"  PYTHONPATH=. ROOST_AGENTS={made.target} roost up --dev\n"
        f"  roost chat --agent {name}"
    )
