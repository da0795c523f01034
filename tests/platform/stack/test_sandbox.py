"""The fakes behind `roost up --sandbox`: each where the settings of its channel expect it."""

import asyncio
from pathlib import Path

import httpx2
import pytest

from roost_channels.telegram.kind import KIND as TELEGRAM
from roost_channels.testing import FakeTelegram
from roost_channels.whatsapp.kind import KIND as TWILIO
from roost_channels.whatsapp_cloud.kind import KIND as WHATSAPP_CLOUD
from roost_platform.data_folder import sandbox_states
from roost_platform.data_folder.sandbox_states import KeptStates
from roost_platform.errors import ConfigError
from roost_platform.settings.config import load_settings
from roost_platform.stack.addresses import choose_ports
from roost_platform.stack.sandbox import open_fakes
from roost_platform.stack.up import Options, environment


async def test_every_network_answers_the_credentials_of_the_sandbox(tmp_path: Path) -> None:
    base = load_settings({"data_dir": tmp_path, "web": {"port": 0}}, environ={})
    env = environment(base, Options(sandbox=True), choose_ports(base, sandbox=True))
    settings = load_settings(environ=env)
    cloud, twilio = settings.channel(WHATSAPP_CLOUD), settings.channel(TWILIO)
    telegram = settings.channel(TELEGRAM)
    assert telegram.token and twilio.auth_token and cloud.access_token
    token = telegram.token.get_secret_value()
    bearer = {"Authorization": f"Bearer {cloud.access_token.get_secret_value()}"}
    basic = (twilio.account_sid or "", twilio.auth_token.get_secret_value())
    messages = f"{twilio.api_base}/2010-04-01/Accounts/{twilio.account_sid}/Messages.json"
    async with open_fakes(settings), httpx2.AsyncClient(trust_env=False) as http:
        answers = [
            await http.get(f"{telegram.api_base}/bot{token}/getMe"),
            await http.get(messages, auth=basic),
            await http.get(f"{cloud.api_base}/v25.0/{cloud.account}", headers=bearer),
        ]
    assert [answer.status_code for answer in answers] == [200, 200, 200]


def test_the_sandbox_has_tokens_of_its_own_which_stay_and_are_private(tmp_path: Path) -> None:
    def tokens(name: str) -> dict[str, str]:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        base = load_settings({"data_dir": folder, "web": {"port": 0}}, environ={})
        env = environment(base, Options(sandbox=True), choose_ports(base, sandbox=True))
        return {key: env[key] for key in env if "TOKEN" in key or "SECRET" in key}

    here, there = tokens("here"), tokens("there")
    assert tokens("here") == here
    assert len(here) == 5 and len(set(here.values())) == 5
    assert not set(here.values()) & set(there.values())
    assert (tmp_path / "here" / "sandbox-secret").stat().st_mode & 0o077 == 0
    (tmp_path / "here" / "sandbox-secret").write_text("")
    assert not set(tokens("here").values()) & set(here.values())


@pytest.mark.parametrize("given", ["pairing", "allowlist", ""])
def test_who_may_talk_in_the_sandbox_is_as_somebody_set_it_and_else_everybody(
    tmp_path: Path, given: str
) -> None:
    """So that pairing can be tried; credentials of a real network are replaced all the same."""
    real = 'account_sid = "AC1"\nauth_token = "real"\nfrom = "whatsapp:+15550001"\n'
    (tmp_path / "roost.toml").write_text(f'[twilio]\naccess = "allowlist"\n{real}')
    environ = {"ROOST_TELEGRAM__ACCESS": given, "ROOST_TELEGRAM__TOKEN": "1:real"}
    base = load_settings({"data_dir": tmp_path, "web": {"port": 0}}, environ=environ)
    env = environment(base, Options(sandbox=True), choose_ports(base, sandbox=True))
    settings = load_settings({"data_dir": tmp_path}, environ={**environ, **env})
    assert settings.channel(TELEGRAM).access == (given or "open")
    assert settings.channel(TWILIO).access == "allowlist"
    assert settings.channel(WHATSAPP_CLOUD).access == "open"
    for secret in (settings.channel(TELEGRAM).token, settings.channel(TWILIO).auth_token):
        assert secret is not None and "real" not in secret.get_secret_value()


async def test_the_phones_show_the_same_after_a_restart_on_the_same_data_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = load_settings({"data_dir": tmp_path, "web": {"port": 0}}, environ={})
    env = environment(base, Options(sandbox=True), choose_ports(base, sandbox=True))
    settings = load_settings(environ=env)
    chat = f"{settings.channel(TELEGRAM).api_base}/sim/chats/1001"

    async def texts() -> list[str]:
        async with open_fakes(settings), httpx2.AsyncClient(trust_env=False) as http:
            answer = await http.get(chat)
            shown = answer.json().get("messages", ()) if answer.status_code == 200 else ()
            await http.post(f"{chat}/messages", json={"text": f"message {len(shown) + 1}"})
            return [message["text"] for message in shown]

    assert [await texts() for _ in range(3)][2] == ["message 1", "message 2"]
    folder = tmp_path / "sandbox"
    file = folder / "telegram.json"
    assert folder.stat().st_mode & 0o077 == 0 and file.stat().st_mode & 0o077 == 0
    file.write_text('{"version": 1, "users": "half a fi')
    assert await texts() == []
    assert "telegram begins anew" in caplog.text
    assert (folder / "telegram.unreadable").read_text().endswith("half a fi")
    assert await texts() == ["message 1"]


async def test_a_killed_sandbox_loses_at_most_the_last_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox_states, "SAVE_EVERY_S", 0.01)
    fake = FakeTelegram()
    kept = KeptStates(tmp_path, {"telegram": fake, "no-state-to-keep": object()})
    saving = asyncio.create_task(kept.run())
    await fake.user_says(1001, "Hello")
    while not (tmp_path / "telegram.json").exists():
        await asyncio.sleep(0.01)
    saving.cancel()
    after = FakeTelegram()
    KeptStates(tmp_path, {"telegram": after}).load()
    assert [message.text for message in after.visible(1001)] == ["Hello"]


async def test_the_sandbox_refuses_settings_that_point_at_the_internet(tmp_path: Path) -> None:
    elsewhere = {"data_dir": tmp_path, "sandbox": True, "telegram": {"token": "1:x"}}
    settings = load_settings(elsewhere, environ={})
    with pytest.raises(ConfigError, match="this machine only"):
        async with open_fakes(settings):
            pass
