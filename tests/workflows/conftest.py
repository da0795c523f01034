"""One Temporal server for all tests of sessions, and a lab for each."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from roost_workflows.testing.lab import Lab, open_lab, running_server


@pytest.fixture(scope="session")
def temporal_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Temporal server as `roost serve temporal` starts it."""
    data: Path = tmp_path_factory.mktemp("temporal")
    with running_server(data) as address:
        yield address


@pytest.fixture
async def lab(temporal_address: str) -> AsyncIterator[Lab]:
    """Conversations of one test: own task queue, own store, own engine."""
    async with open_lab(temporal_address) as opened:
        yield opened
