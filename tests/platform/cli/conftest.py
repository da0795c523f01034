"""A stack that answers the command line what a test says."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from roost_platform.testing.command_line import FakeStack, serving


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeStack]:
    """A fake stack whose data folder is the test's own."""
    with serving(tmp_path) as stack:
        yield stack
