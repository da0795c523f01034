"""Load the agents in a process of its own and tell which files they are made of.

`python -m roost_platform.stack.dev.check` prints a line of JSON, or says what is wrong on stderr
and ends with EXIT_CONFIG.
"""

import contextlib
import json
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from roost_platform.errors import EXIT_CONFIG, ConfigError
from roost_platform.masking import mask

OURS = frozenset(
    ("roost", "roost_platform", "roost_workflows", "roost_channels", "roost_inference")
)


def main() -> int:
    """Check the agents of the settings; returns the exit code."""
    from roost_platform.settings.config import load_settings
    from roost_platform.wiring.storage import load_registry

    before = set(sys.modules)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # their modules may print
            registry = load_registry(load_settings())
    except ConfigError as error:
        print(mask(str(error)), file=sys.stderr)
        return EXIT_CONFIG
    modules = [module for name, module in sys.modules.items() if name not in before]
    files, folders = sources(modules)
    roll = [registry.default, *sorted(f"{agent.name} {agent.queue}" for agent in registry)]
    print(json.dumps({"roll": roll, "files": files, "folders": folders}))
    return 0


def sources(modules: Iterable[ModuleType]) -> tuple[list[str], list[str]]:
    """The files of modules that are neither installed nor ours, and the folders of packages."""
    installed = [Path(sysconfig.get_path(kind)) for kind in ("stdlib", "purelib", "platlib")]
    files, folders = set(), set()
    for module in modules:
        name = module.__name__
        if name.partition(".")[0] in OURS:
            continue
        file = getattr(module, "__file__", None)
        places = [file] if file else list(getattr(module, "__path__", ()))
        for place in map(Path, places):
            if any(place.is_relative_to(folder) for folder in installed):
                continue
            if place.is_dir():
                folders.add(str(place))
            else:
                files.add(str(place))
                if place.stem == "__init__":
                    folders.add(str(place.parent))
    return sorted(files), sorted(folders)


if __name__ == "__main__":
    sys.exit(main())
