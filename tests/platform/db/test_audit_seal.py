"""The audit trail's key: who has none can neither change, cut off nor make rows unseen."""

import stat
from pathlib import Path

import pytest
from sqlalchemy import text

from roost_platform.data_folder.running_stack import AUDIT_KEY_FILE
from roost_platform.db import models
from roost_platform.db.audit import AuditTrail, set_key
from roost_platform.db.audit_seal import AuditKey, chain_hash
from roost_platform.db.stores import Stores
from roost_platform.identity.audit_key import open_trail, read_audit_key
from roost_platform.settings.config import load_settings


async def sealed(stores: Stores, folder: Path, before: int = 2, after: int = 3) -> AuditTrail:
    """A trail with rows from before there was a key, and rows with it."""
    for number in range(before):
        await stores.audit.write("olga", "view", f"old {number}")
    assert await stores.audit.verify() is None
    await open_trail(load_settings({"data_dir": folder}, environ={}), stores.database)
    for number in range(after):
        await stores.audit.write("olga", "view", f"new {number}", {"n": number})
    assert await stores.audit.verify() is None
    return stores.audit


async def behind_our_back(stores: Stores, *statements: str) -> None:
    """What somebody does who may write the database."""
    sqlite = ["DROP TRIGGER IF EXISTS audit_no_update", "DROP TRIGGER IF EXISTS audit_no_delete"]
    postgres = ["DROP TRIGGER IF EXISTS audit_no_change ON audit"]
    async with stores.database.write() as session:
        for statement in [*(sqlite if stores.database.is_sqlite else postgres), *statements]:
            await session.execute(text(statement))


@pytest.mark.parametrize(
    "statements",
    [
        ("DELETE FROM audit WHERE id = 5",),
        ("DELETE FROM audit WHERE id >= 2",),
        ("DELETE FROM audit",),
        ("DELETE FROM audit WHERE id = 1",),
        ("DELETE FROM audit", "DELETE FROM audit_anchor"),
        ("DELETE FROM audit WHERE id = 5", "UPDATE audit_anchor SET length = 4"),
        ("DELETE FROM audit", "UPDATE audit_anchor SET length = 0, seal = ''"),
        ("UPDATE audit_anchor SET seal = ''",),
        ("UPDATE audit SET actor = 'nobody' WHERE id = 1",),
        ("UPDATE audit SET actor = 'nobody' WHERE id = 4",),
        ("UPDATE audit SET detail = '{}' WHERE id = 5",),
        ("UPDATE audit SET keyed = false",),
    ],
)
async def test_s20_rows_changed_or_cut_off_are_found_and_stay_found(
    stores: Stores, tmp_path: Path, statements: tuple[str, ...]
) -> None:
    trail = await sealed(stores, tmp_path)
    await behind_our_back(stores, *statements)
    assert await trail.verify() is not None
    await trail.write("olga", "login", "")  # a later row hides nothing
    assert await trail.verify() is not None


@pytest.mark.parametrize(("before", "after"), [(2, 3), (2, 0), (0, 0), (0, 1)])
async def test_s20_a_row_made_without_the_key_is_found(
    stores: Stores, tmp_path: Path, before: int, after: int
) -> None:
    trail = await sealed(stores, tmp_path, before, after)
    async with stores.database.write() as session:
        anchor = await session.get_one(models.AuditAnchor, 1)
        row = models.Audit(
            at=1.0,
            actor="eve",
            action="login",
            object="",
            detail={},
            ip="",
            keyed=False,
            prev_hash=anchor.last_hash,
        )
        row.hash = chain_hash(row, None)
        session.add(row)
    assert await trail.verify() is not None


async def test_s20_the_key_is_private_made_once_and_needed(stores: Stores, tmp_path: Path) -> None:
    trail = await sealed(stores, tmp_path)
    file = tmp_path / AUDIT_KEY_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    settings = load_settings({"data_dir": tmp_path}, environ={})
    before = read_audit_key(settings)
    await open_trail(settings, stores.database)
    assert read_audit_key(settings) == before
    assert await trail.verify() is None
    set_key(stores.database, AuditKey(b"another", has_sealed=True))
    assert await trail.verify() is not None


async def test_a_start_that_ended_between_key_and_seal_is_made_good(
    stores: Stores, tmp_path: Path
) -> None:
    await stores.audit.write("olga", "view", "old")
    (tmp_path / AUDIT_KEY_FILE).write_text("secret")
    settings = load_settings({"data_dir": tmp_path}, environ={})
    await open_trail(settings, stores.database)
    await stores.audit.write("olga", "view", "new")
    assert await stores.audit.verify() is None
    key = read_audit_key(settings)
    assert key is not None and key.has_sealed
