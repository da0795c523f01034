"""Roost's version, as the installed package says it."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version


def _read() -> str:
    try:
        return installed_version("roost")
    except PackageNotFoundError:  # run from a checkout that was not installed
        return "0+checkout"


VERSION = _read()
