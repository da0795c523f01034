"""The fakes behind `roost up --sandbox`: each where the settings of its channel expect it."""

from pathlib import Path

import httpx2
import pytest

from roost_channels.telegram.kind import KIND as TELEGRAM
from roost_channels.whatsapp.kind import KIND as TWILIO
from roost_channels.whatsapp_cloud.kind import KIND as WHATSAPP_CLOUD
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


async def test_the_sandbox_refuses_settings_that_point_at_the_internet(tmp_path: Path) -> None:
    elsewhere = {"data_dir": tmp_path, "sandbox": True, "telegram": {"token": "1:x"}}
    settings = load_settings(elsewhere, environ={})
    with pytest.raises(ConfigError, match="this machine only"):
        async with open_fakes(settings):
            pass
