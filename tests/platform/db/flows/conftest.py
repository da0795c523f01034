"""A person in a chat whose agent is a flow, on each kind of database."""

import pytest

from roost_platform.testing.chats import HandClock, Person
from roost_platform.testing.flow_world import FlowWorld


@pytest.fixture
def world(ada: Person, clock: HandClock) -> FlowWorld:
    world = FlowWorld(ada, clock)
    world.watch_commits()
    return world
