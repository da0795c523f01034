"""A channel named by a setting has all that a built-in one has: one line, and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from relay.kind import KIND
from roost_channels.registry import BUILT_IN
from roost_platform.errors import ConfigError
from roost_platform.settings.config import load_settings, settings_model
from roost_platform.settings.rows import setting_rows
from roost_platform.stack.addresses import choose_ports, sandbox_environment
from roost_platform.wiring.courier import build_channels
from roost_platform.wiring.storage import access_policies, progress_modes

RELAY = {
    "ROOST_CHANNELS": "relay.kind:KIND",
    "ROOST_RELAY__API_BASE": "http://127.0.0.1:9",
    "ROOST_RELAY__NAME": "roost",
    "ROOST_RELAY__API_KEY": "k",
    "ROOST_RELAY__WEBHOOK_SECRET": "s",
    "ROOST_RELAY__PROGRESS": "off",
    "ROOST_RELAY__ALLOWLIST": "ada,bob",
    "ROOST_INBOUND__QUEUE_RELAY": "collect",
}


async def test_its_settings_are_read_shown_and_used(tmp_path: Path) -> None:
    settings = load_settings({"data_dir": tmp_path}, environ=RELAY)
    account = ("relay", "roost")
    assert settings.kinds == (*BUILT_IN, KIND)
    assert settings.channel(KIND).allowlist == ("ada", "bob")
    assert progress_modes(settings)[account] == "off"
    assert access_policies(settings)[account].allowlist == ("ada", "bob")
    assert settings.inbound.rules.default_of("relay", "concierge") == "collect"
    rows = {row.path: row for row in setting_rows(settings)}
    assert (rows["relay.api_key"].value, rows["relay.name"].value) == ("set", "roost")
    channels = build_channels(settings)
    assert account in {(channel.name, channel.account) for channel in channels}
    for channel in channels:
        await channel.close()


def test_a_file_can_name_it_and_wrong_keys_are_told_with_the_right_ones(tmp_path: Path) -> None:
    (tmp_path / "roost.toml").write_text('channels = ["relay.kind:KIND"]\n[relay]\nname = "x"\n')
    with pytest.raises(ConfigError, match="Relay needs api_base"):
        load_settings({"data_dir": tmp_path}, environ={})
    with pytest.raises(ConfigError, match="ROOST_RELAY__API_KEY"):
        load_settings({"data_dir": tmp_path}, environ={**RELAY, "ROOST_RELAY__API_KEYS": "k"})


def test_without_the_line_its_settings_are_refused(tmp_path: Path) -> None:
    unnamed = {name: value for name, value in RELAY.items() if name != "ROOST_CHANNELS"}
    with pytest.raises(ConfigError, match="is not a setting"):
        load_settings({"data_dir": tmp_path}, environ=unnamed)
    with pytest.raises(ConfigError, match=r"channels: .*can't be imported"):
        load_settings({"data_dir": tmp_path}, environ={"ROOST_CHANNELS": "nowhere.kind:KIND"})


def test_every_setting_of_a_channel_has_a_heading_on_its_page() -> None:
    for kind in settings_model().kinds:
        assert not kind.section or kind.title


def test_the_sandbox_points_it_at_its_fake_and_never_at_the_real_server(tmp_path: Path) -> None:
    settings = load_settings({"data_dir": tmp_path, "web": {"port": 0}}, environ=RELAY)
    addresses = choose_ports(settings, sandbox=True)
    child = load_settings(environ=RELAY | sandbox_environment(settings, addresses, "s" * 64))
    relay = child.channel(KIND)
    assert relay.api_base == f"http://127.0.0.1:{addresses.fakes['relay']}"
    assert relay.api_key and relay.api_key.get_secret_value() != "k"


def test_in_the_sandbox_a_channel_without_a_fake_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.kind.BARE", replace(KIND, sandbox=None), raising=False)
    environ = {**RELAY, "ROOST_CHANNELS": "relay.kind:BARE"}
    for sandbox, expected in ((False, True), (True, False)):
        settings = load_settings({"data_dir": tmp_path, "sandbox": sandbox}, environ=environ)
        assert ("relay" in {kind.name for kind, _ in settings.accounts()}) is expected
