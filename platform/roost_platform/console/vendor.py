"""Refresh static/vendor from npm, for maintainers: `python -m roost_platform.console.vendor`.

The files are committed, so nobody needs npm to install or run the console. Each package is pinned
exactly, and its tarball's integrity is compared with the lock before anything is replaced.
"""

import base64
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

VENDOR = Path(__file__).parent / "static" / "vendor"
LOCK = VENDOR / "vendor.lock.toml"

# fmt: off
ICONS = (
    "arrow-left", "arrow-up", "ban", "bird", "bot", "braces", "check", "check-check",
    "chevron-down", "chevron-left", "chevron-right", "circle-check", "circle-question-mark",
    "circle-stop", "circle-x", "clock", "copy", "cpu", "ellipsis-vertical", "external-link",
    "history", "info", "key-round", "layout-dashboard", "link", "loader-circle", "log-out", "menu",
    "message-square", "messages-square", "moon", "palette", "phone", "plus", "quote",
    "radio-tower", "reply", "rotate-cw", "scroll-text", "search", "send", "shield-check",
    "smartphone", "sun", "terminal", "timer", "triangle-alert", "truck", "user", "user-check",
    "users", "video", "webhook", "wrench", "x",
)
# fmt: on


@dataclass(frozen=True, slots=True)
class Package:
    """One npm package and the files we take from it."""

    name: str
    version: str
    licence: str
    folder: str
    files: Sequence[str]


PACKAGES = (
    Package(
        "htmx.org",
        "4.0.1",
        "0BSD",
        "htmx",
        ("dist/htmx.min.js", "dist/ext/hx-sse.min.js", "LICENSE"),
    ),
    Package(
        "uplot",
        "1.6.32",
        "MIT",
        "uplot",
        ("dist/uPlot.iife.min.js", "dist/uPlot.min.css", "LICENSE"),
    ),
    Package(
        "basecoat-css",
        "1.0.2",
        "MIT",
        "basecoat",
        ("dist/basecoat.cdn.min.css", "LICENSE.md"),
    ),
    Package(
        "lucide-static",
        "1.62.0",
        "ISC",
        "lucide",
        (*(f"icons/{icon}.svg" for icon in ICONS), "LICENSE"),
    ),
    Package(
        "@fontsource-variable/inter",
        "5.3.0",
        "OFL-1.1",
        "inter",
        (
            "files/inter-latin-wght-normal.woff2",
            "files/inter-latin-ext-wght-normal.woff2",
            "LICENSE",
        ),
    ),
)


def pack(package: Package, folder: Path) -> bytes:
    """The package's tarball as the registry serves it."""
    subprocess.run(
        ["npm", "pack", "--silent", f"{package.name}@{package.version}"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    (tarball,) = folder.glob("*.tgz")
    content = tarball.read_bytes()
    tarball.unlink()
    return content


def locked_integrity() -> dict[str, str]:
    """The integrity of every locked name@version, so that a changed tarball is refused."""
    if not LOCK.exists():
        return {}
    packages = tomllib.loads(LOCK.read_text())["package"]
    return {f"{p['name']}@{p['version']}": p["integrity"] for p in packages}


def install(package: Package, content: bytes) -> str:
    """Write the package's files and return its entry for the lock."""
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    known = locked_integrity().get(f"{package.name}@{package.version}")
    if known not in (None, integrity):
        raise SystemExit(f"{package.name}@{package.version}: {integrity} is not the locked {known}")
    target = VENDOR / package.folder
    target.mkdir(parents=True, exist_ok=True)
    lines = [
        "[[package]]",
        f"name = {json.dumps(package.name)}",
        f"version = {json.dumps(package.version)}",
        f"licence = {json.dumps(package.licence)}",
        f"integrity = {json.dumps(integrity)}",
        "",
        "[package.files]",
    ]
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for path in package.files:
            member = archive.extractfile(f"package/{path}")
            if member is None:
                raise SystemExit(f"{package.name}: no file {path}")
            data = member.read()
            name = f"{package.folder}/{Path(path).name}"
            (VENDOR / name).write_bytes(data)
            digest = hashlib.sha256(data).hexdigest()
            lines.append(f'{json.dumps(name)} = "sha256-{digest}"')
    return "\n".join([*lines, ""])


def main() -> int:
    """Fetch every package, replace the files and the lock; returns the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        entries = [install(package, pack(package, Path(folder))) for package in PACKAGES]
    header = (
        "# Written by `python -m roost_platform.console.vendor`; a test holds the files to it.\n\n"
    )
    LOCK.write_text(header + "\n".join(entries))
    return 0


if __name__ == "__main__":
    sys.exit(main())
