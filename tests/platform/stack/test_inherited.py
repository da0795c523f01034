"""Each part of the stack gets the settings that it uses, and no secret of another."""

from roost_platform.stack.addresses import inherited
from roost_workflows.server.devserver import SERVER_VARIABLES, server_environment

ENVIRONMENT = {
    "PATH": "/bin",
    "AWS_REGION": "x",
    "ROOST_DATA_DIR": "/data",
    "ROOST_AGENTS": "m:a",
    "ROOST_LOG__LEVEL": "debug",
    "ROOST_ENGINE__API_KEY": "k",
    "ROOST_TELEGRAM__TOKEN": "t",
    "roost_twilio__auth_token": "a",
    "ROOST_DATABASE__PASSWORD": "p",
    "ROOST_API_TOKEN": "b",
}
COMMON = {"PATH", "AWS_REGION", "ROOST_DATA_DIR", "ROOST_AGENTS", "ROOST_LOG__LEVEL"}


def test_the_engine_gets_its_own_settings_and_common_ones() -> None:
    assert set(inherited(ENVIRONMENT, ("engine",))) == COMMON | {"ROOST_ENGINE__API_KEY"}
    assert set(inherited(ENVIRONMENT, ("temporal",))) == COMMON
    fakes = inherited(ENVIRONMENT, ("telegram", "twilio"))
    assert set(fakes) == COMMON | {"ROOST_TELEGRAM__TOKEN", "roost_twilio__auth_token"}


def test_parts_that_use_all_settings_get_all() -> None:
    assert inherited(ENVIRONMENT, None) == ENVIRONMENT


def test_temporals_server_gets_the_systems_variables_alone() -> None:
    assert server_environment(ENVIRONMENT) == {"PATH": "/bin"}
    assert not [name for name in SERVER_VARIABLES if "ROOST" in name or "KEY" in name]
