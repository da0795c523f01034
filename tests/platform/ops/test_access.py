"""Entering a fresh installation: the setup link and the local token live through restarts."""

import stat
import time
from pathlib import Path

from roost_platform.data_folder import running_stack
from roost_platform.db.stores import Stores
from roost_platform.identity.accounts import Accounts
from roost_platform.identity.operators import prepare_access
from roost_platform.identity.roles import Role
from roost_platform.identity.tokens import Tokens
from roost_platform.settings.config import Settings, load_settings

URL = "http://127.0.0.1:8420"


def settings_for(tmp_path: Path) -> Settings:
    return load_settings({"data_dir": tmp_path}, environ={})


async def test_the_local_token_is_an_admins_private_and_stays_the_same(
    sqlite_stores: Stores, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path)
    await prepare_access(settings, sqlite_stores.database, URL)
    token = running_stack.read_token(tmp_path)
    assert stat.S_IMODE((tmp_path / running_stack.TOKEN_FILE).stat().st_mode) == 0o600
    principal = await Tokens(sqlite_stores.database, time.time).find(token)
    assert principal is not None
    assert principal.role is Role.admin
    await prepare_access(settings, sqlite_stores.database, URL)
    assert running_stack.read_token(tmp_path) == token


async def test_a_token_file_from_an_older_database_is_made_valid_again(
    sqlite_stores: Stores, tmp_path: Path
) -> None:
    running_stack.write_private(tmp_path / running_stack.TOKEN_FILE, "roost_from-before")
    await prepare_access(settings_for(tmp_path), sqlite_stores.database, URL)
    assert await Tokens(sqlite_stores.database, time.time).find("roost_from-before") is not None


async def test_the_printed_setup_link_works_after_a_restart_on_another_port(
    sqlite_stores: Stores, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path)
    file = tmp_path / running_stack.SETUP_FILE
    await prepare_access(settings, sqlite_stores.database, URL)
    printed = file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    await prepare_access(settings, sqlite_stores.database, "http://127.0.0.1:9999")
    assert file.read_text() == printed.replace("8420", "9999")
    token = printed.partition("#token=")[2]
    accounts = Accounts(sqlite_stores.database, time.time)
    await accounts.set_up(token, "ada", "a good long password")
    assert await accounts.has_admin()


async def test_the_link_is_gone_once_there_is_an_administrator(
    sqlite_stores: Stores, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path)
    await prepare_access(settings, sqlite_stores.database, URL)
    accounts = Accounts(sqlite_stores.database, time.time)
    await accounts.create("ada", "a good long password", Role.admin)
    await prepare_access(settings, sqlite_stores.database, URL)
    assert not (tmp_path / running_stack.SETUP_FILE).exists()


async def test_an_expired_link_is_replaced(sqlite_stores: Stores, tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    long_ago = Accounts(sqlite_stores.database, lambda: time.time() - 3600)
    old = await long_ago.new_setup_token()
    running_stack.write_private(tmp_path / running_stack.SETUP_FILE, f"{URL}/setup#token={old}")
    await prepare_access(settings, sqlite_stores.database, URL)
    assert old not in (tmp_path / running_stack.SETUP_FILE).read_text()
