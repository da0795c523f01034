"""Settings: the environment, then one file, then defaults; the unknown is refused by name."""

import json
from pathlib import Path

import pytest

from roost_channels.telegram.kind import KIND as TELEGRAM
from roost_channels.whatsapp.kind import KIND as TWILIO
from roost_platform.errors import ConfigError
from roost_platform.settings.config import load_settings, settings_model, walk_fields
from roost_platform.settings.rows import setting_rows

DESIGN_VARIABLES = {
    "ROOST_DATA_DIR",
    "ROOST_PUBLIC_BASE_URL",
    "ROOST_DATABASE__URL",
    "ROOST_TEMPORAL__ADDRESS",
    "ROOST_AGENTS",
    "ROOST_TELEGRAM__TOKEN",
    "ROOST_TELEGRAM__API_BASE",
    "ROOST_TELEGRAM__MODE",
    "ROOST_TELEGRAM__WEBHOOK_SECRET",
    "ROOST_TELEGRAM__ACCESS",
    "ROOST_TWILIO__ACCOUNT_SID",
    "ROOST_TWILIO__AUTH_TOKEN",
    "ROOST_TWILIO__FROM",
    "ROOST_TWILIO__API_BASE",
    "ROOST_TWILIO__ACCESS",
    "ROOST_ENGINE__MODEL",
    "ROOST_ENGINE__URL",
    "ROOST_ENGINE__API_KEY",
    "ROOST_ENGINE__MODEL_NAME",
    "ROOST_ENGINE__PORT",
    "ROOST_ENGINE__KV_RAM",
    "ROOST_ENGINE__KV_DISK",
    "ROOST_ENGINE__KV_OBJECT_URL",
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No roost.toml of the checkout, no home of the person who runs the tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def test_the_environment_beats_the_file_and_the_file_beats_the_default(tmp_path: Path) -> None:
    (tmp_path / "roost.toml").write_text("[web]\nport = 1111\nhost = '127.0.0.2'\n")
    settings = load_settings(environ={"ROOST_WEB__PORT": "2222"})
    assert (settings.web.port, settings.web.host) == (2222, "127.0.0.2")
    assert settings.web.max_body_bytes == settings_model()().web.max_body_bytes


def test_the_command_line_beats_all() -> None:
    settings = load_settings({"web": {"port": 3333}}, environ={"ROOST_WEB__PORT": "2222"})
    assert settings.web.port == 3333
    assert settings.origin("web.port") == "command line"


def test_every_value_knows_where_it_came_from(tmp_path: Path) -> None:
    file = tmp_path / "roost.toml"
    file.write_text("[web]\nhost = '127.0.0.2'\n")
    settings = load_settings(environ={"ROOST_WEB__PORT": "2222"})
    origins = {row.path: row.origin for row in setting_rows(settings)}
    assert origins["web.port"] == "environment"
    assert origins["web.host"] == str(file)
    assert origins["log.level"] == "default"


@pytest.mark.parametrize(
    ("variable", "named"),
    [
        ("ROOST_TELEGRAM__TOKN", "ROOST_TELEGRAM__TOKEN"),
        ("ROOST_TELEGRM__TOKEN", "ROOST_TELEGRAM__TOKEN"),
        ("ROOST_DATA_DIRR", "ROOST_DATA_DIR"),
    ],
)
def test_an_unknown_variable_is_refused_by_name_with_the_likely_one(
    variable: str, named: str
) -> None:
    with pytest.raises(ConfigError, match=variable) as error:
        load_settings(environ={variable: "x"})
    assert f"Did you mean {named}?" in str(error.value)


def test_an_unknown_key_of_the_file_is_refused_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "roost.toml"
    file.write_text("[web]\nprot = 1\n")
    with pytest.raises(ConfigError) as error:
        load_settings(environ={})
    assert f"web.prot ({file}) is not a setting." in str(error.value)


def test_every_wrong_value_is_told_at_once_and_secrets_are_not_repeated() -> None:
    environ = {
        "ROOST_WEB__PORT": "abc",
        "ROOST_TELEGRAM__MODE": "pigeon",
        "ROOST_TELEGRAM__TOKEN": "42:very-secret",
    }
    with pytest.raises(ConfigError) as error:
        load_settings(environ=environ)
    text = str(error.value)
    assert "ROOST_WEB__PORT (environment)" in text
    assert "ROOST_TELEGRAM__MODE (environment)" in text
    assert "very-secret" not in text


def test_secrets_are_shown_as_set_and_never_printed() -> None:
    environ = {"ROOST_TELEGRAM__TOKEN": "42:hush", "ROOST_DATABASE__URL": "postgresql://u:hush@h/d"}
    settings = load_settings(environ=environ)
    rows = {row.path: row for row in setting_rows(settings)}
    assert (rows["telegram.token"].value, rows["telegram.token"].secret) == ("set", True)
    assert "hush" not in repr(settings) + repr(list(rows.values()))


def test_lists_are_written_with_commas_or_as_json() -> None:
    commas = load_settings(environ={"ROOST_TELEGRAM__ALLOWLIST": "123, 456"})
    as_json = load_settings(environ={"ROOST_TELEGRAM__ALLOWLIST": '["123","456"]'})
    assert (
        commas.channel(TELEGRAM).allowlist == as_json.channel(TELEGRAM).allowlist == ("123", "456")
    )
    assert load_settings(environ={"ROOST_AGENTS": "a:b,c:d"}).agents == ("a:b", "c:d")


def test_shared_keys_are_a_json_table_whose_ids_keep_their_case() -> None:
    keys = json.dumps({"SKabC": "s3cret"})
    settings = load_settings(environ={"ROOST_TWILIO__SHARED_KEYS": keys})
    assert settings.channel(TWILIO).shared_keys["SKabC"].get_secret_value() == "s3cret"


def test_the_twilio_sender_is_called_from_outside() -> None:
    whole = {"ROOST_TWILIO__ACCOUNT_SID": "AC1", "ROOST_TWILIO__AUTH_TOKEN": "hush"}
    settings = load_settings(environ={**whole, "ROOST_TWILIO__FROM": "whatsapp:+15550001000"})
    assert settings.channel(TWILIO).account == "whatsapp:+15550001000"


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"ROOST_TELEGRAM__TOKEN": "garbage"}, "a bot's token is its number, a colon"),
        ({"ROOST_TWILIO__AUTH_TOKEN": "garbage"}, "needs account_sid, auth_token and from"),
        ({"ROOST_TWILIO__FROM": "+1555"}, "write whatsapp:+ and the number"),
        ({"ROOST_DATABASE__URL": "mysql://garbage"}, "write postgresql://"),
        ({"ROOST_DATABASE__URL": "garbage"}, "write postgresql://"),
        ({"ROOST_PUBLIC_BASE_URL": "garbage"}, "write the whole address"),
        ({"ROOST_ENGINE__URL": "garbage:8000"}, "write the engine's whole address"),
    ],
)
def test_what_can_never_work_is_refused_before_anything_starts(
    environ: dict[str, str], told: str
) -> None:
    with pytest.raises(ConfigError) as error:
        load_settings(environ=environ)
    assert told in str(error.value)
    assert "garbage" not in str(error.value)


def test_an_empty_variable_counts_as_not_set() -> None:
    settings = load_settings(environ={"ROOST_TELEGRAM__TOKEN": "", "ROOST_ENGINE__MODEL": ""})
    assert not settings.channel(TELEGRAM).configured
    assert settings.engine.model is None


def test_the_file_in_the_data_folder_is_found(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "roost.toml").write_text("[web]\nport = 4444\n")
    assert load_settings(environ={"ROOST_DATA_DIR": str(data)}).web.port == 4444


def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a file"):
        load_settings(environ={"ROOST_CONFIG": str(tmp_path / "nowhere.toml")})


def test_a_file_that_is_not_toml_is_told_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "roost.toml").write_text("web = [")
    with pytest.raises(ConfigError, match=r"roost\.toml can't be read"):
        load_settings(environ={})


def test_the_data_folder_is_absolute_and_may_begin_with_a_tilde(tmp_path: Path) -> None:
    assert load_settings(environ={"ROOST_DATA_DIR": "~/x"}).data_dir == tmp_path / "home" / "x"
    assert load_settings(environ={"ROOST_DATA_DIR": "y"}).data_dir == tmp_path / "y"


def test_settings_made_without_loading_read_nothing_from_outside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ROOST_WEB__PORT", "2222")
    assert settings_model()().web.port != 2222


def test_every_setting_has_help_and_every_promised_variable_exists() -> None:
    rows = setting_rows(settings_model()())
    assert not [row.path for row in rows if not row.help.strip().endswith((".", "`"))]
    assert {row.variable for row in rows} >= DESIGN_VARIABLES


def test_no_group_of_settings_takes_unknown_keys() -> None:
    for path, _field in walk_fields(settings_model()):
        section = path.rpartition(".")[0]
        variable = f"ROOST_{section.upper()}__NO_SUCH_KEY" if section else "ROOST_NO_SUCH_KEY"
        with pytest.raises(ConfigError, match="NO_SUCH_KEY"):
            load_settings(environ={variable: "x"})


def test_the_engine_is_the_named_one_or_the_bundled_core() -> None:
    named = load_settings(environ={"ROOST_ENGINE__URL": "http://vllm:8000/v1/"})
    assert named.engine_url == "http://vllm:8000/v1"
    assert load_settings(environ={"ROOST_ENGINE__PORT": "9"}).engine_url == "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ROOST_ENGINE__API_KEY", "sk-…"),
        ("ROOST_PROVIDERS__OPENAI__API_KEY", "sk-\u200bsecret"),
        ("ROOST_TELEMETRY__OTLP_HEADERS__X-KEY", "schlüssel"),
        ("ROOST_METRICS__TOKEN", "a\tb"),
    ],
)
def test_a_key_that_no_header_can_carry_is_refused_by_name(variable: str, value: str) -> None:
    environ = {"ROOST_PROVIDERS__OPENAI__BASE_URL": "https://api.openai.com/v1", variable: value}
    with pytest.raises(ConfigError, match=f"^{variable} .*no character of a key") as refused:
        load_settings(environ=environ)
    assert value not in str(refused.value)
    whole = {
        "ROOST_WHATSAPP_CLOUD__ACCESS_TOKEN": "a-token",
        "ROOST_WHATSAPP_CLOUD__PHONE_NUMBER_ID": "106540352242922",
        "ROOST_WHATSAPP_CLOUD__APP_SECRET": "a-secret",
    }
    no_header = {"ROOST_DATABASE__PASSWORD": value, "ROOST_WHATSAPP_CLOUD__VERIFY_TOKEN": value}
    load_settings(environ={**whole, **no_header})
