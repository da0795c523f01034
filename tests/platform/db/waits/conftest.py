"""A person in a chat where buttons may be missing, so that words decide, too."""

from collections.abc import AsyncIterator

import pytest

from roost_channels.message import Address
from roost_platform.approval_rules import ApprovalRules
from roost_platform.db.base.engine import Database
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import open_stores
from roost_platform.intake import PlatformIntake
from roost_platform.testing.chats import DoorbellLog, HandClock, Person


@pytest.fixture
async def grace(sqlite_url: str, clock: HandClock) -> AsyncIterator[Person]:
    rules = ApprovalRules(by_words=frozenset({("whatsapp", "w")}), grant_s=7 * 86_400.0)
    policies = {("whatsapp", "w"): AccessPolicy("open")}
    stores = open_stores(Database(sqlite_url, clock=clock), policies=policies, approvals=rules)
    bell = DoorbellLog()
    address = Address("whatsapp", "w", "whatsapp:+15551112222")
    yield Person(stores, PlatformIntake(stores, bell), bell, address)
    await stores.close()
