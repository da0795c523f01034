"""One engine that reads prompts and one that answers: settings, start, clients and the doctor."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from roost_inference.client.engine_client import EngineClient
from roost_inference.client.routing.pool import EnginePool
from roost_inference.http.listener import listening
from roost_inference.testing.peers.app import peer_app
from roost_inference.testing.peers.scripted import ScriptedPeer
from roost_platform.errors import ConfigError
from roost_platform.processes.engine import folder_of
from roost_platform.settings.config import Settings, load_settings
from roost_platform.stack.addresses import choose_ports
from roost_platform.stack.checks.engines import engine_findings
from roost_platform.stack.checks.gateway import Finding
from roost_platform.stack.up import Options, environment, plan
from roost_platform.wiring.engine import engine_client


def settings_of(folder: Path, **environ: str) -> Settings:
    named = {f"ROOST_ENGINE__{name}": value for name, value in environ.items()}
    return load_settings({"data_dir": folder, "web": {"port": 0}}, environ=named)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"PREFILL_URLS": "gpu-box:8421"}, ": write the engine's whole address"),
        ({"PREFILL_URLS": "http://a,http://a/"}, "address 1 stands there twice"),
        ({"URL": "http://a,b"}, "address 2: write the engine's whole address"),
        ({"URL": "http://a,http://a"}, "address 1 stands there twice"),
        ({"URL": "http://a/", "PREFILL_URLS": "http://a"}, "an address is in `url` and in"),
        ({"ROLE": "reader"}, "ROOST_ENGINE__ROLE"),
    ],
)
def test_addresses_that_cannot_be_are_named(
    tmp_path: Path, environ: Mapping[str, str], said: str
) -> None:
    with pytest.raises(ConfigError) as error:
        settings_of(tmp_path, **environ)
    assert said in str(error.value)


def test_several_addresses_stand_behind_commas_and_one_alone_is_as_before(tmp_path: Path) -> None:
    several = settings_of(tmp_path, URL="http://a:1/, http://b:2/v1", PREFILL_URLS="http://p:3")
    assert several.engine_urls == ("http://a:1", "http://b:2/v1")
    assert several.engine_url == "http://a:1"
    assert several.engine.prefill_urls == ("http://p:3",)
    alone = settings_of(tmp_path, URL="http://a:1")
    assert (alone.engine_urls, alone.engine_url) == (("http://a:1",), "http://a:1")
    assert settings_of(tmp_path).engine_urls == ("http://127.0.0.1:8421",)


async def test_one_engine_has_the_plain_client_and_several_have_a_router(tmp_path: Path) -> None:
    async with engine_client(settings_of(tmp_path, URL="http://a:1")) as client:
        assert type(client) is EngineClient
    async with engine_client(settings_of(tmp_path, PREFILL_URLS="http://p:3")) as client:
        assert isinstance(client, EnginePool)
        assert [state.duty for state in client.states()] == ["decode", "prefill"]


def test_split_starts_a_second_engine_that_the_first_one_s_clients_know(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    addresses = choose_ports(settings, sandbox=True, split=True)
    options = Options(sandbox=True, split=True)
    parts = {part.name: part for part in plan(settings, options, addresses)}
    assert [*parts] == ["temporal", "sandbox", "engine", "prefill", "worker", "courier", "web"]
    assert parts["prefill"].command[-2:] == ("serve", "engine")
    told = {name: load_settings(environ=parts[name].env) for name in ("engine", "prefill", "web")}
    assert [told[name].engine.role for name in told] == ["decode", "prefill", "decode"]
    assert told["web"].engine.prefill_urls == (f"http://127.0.0.1:{addresses.prefill}",)
    assert told["prefill"].engine.port == addresses.prefill
    assert told["engine"].engine.api_key == told["prefill"].engine.api_key
    assert folder_of(told["engine"]) != folder_of(told["prefill"])
    assert addresses.prefill not in (addresses.engine, addresses.web, addresses.temporal)


def test_without_split_nothing_is_different(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    env = environment(settings, Options(), choose_ports(settings, sandbox=False))
    assert not {name for name in env if "PREFILL" in name or "ROLE" in name}


@pytest.mark.parametrize("name", ["URL", "PREFILL_URLS"])
def test_split_and_engines_elsewhere_exclude_each_other(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="--split runs two engines here"):
        choose_ports(settings_of(tmp_path, **{name: "http://a:1"}), sandbox=False, split=True)


async def test_the_doctor_names_each_engine_and_what_is_wrong_with_it(tmp_path: Path) -> None:
    decode = ScriptedPeer("d", role="decode", compat="abc")
    fits = ScriptedPeer("p", role="prefill", compat="abc")
    differs = ScriptedPeer("q", role="prefill", compat="xyz")
    async with (
        listening(peer_app(decode)) as url,
        listening(peer_app(fits)) as good,
        listening(peer_app(differs)) as bad,
    ):
        urls = f"{good},{bad},http://127.0.0.1:9"
        settings = settings_of(tmp_path, URL=url, API_KEY="k", PREFILL_URLS=urls)
        findings = await asyncio.to_thread(lambda: list(engine_findings(settings)))
    assert [one.level for one in findings] == ["ok", "ok", "warning", "warning"]
    assert findings[0] == Finding(
        f"engine {url.removeprefix('http://')}", "ok", "answers, role decode, compat abc"
    )
    assert "its KV does not fit (compat xyz, others abc)" in findings[2].detail
    assert "it does not answer" in findings[3].detail
    assert findings[3].name == "engine 127.0.0.1:9"


def test_the_doctor_says_nothing_of_one_engine_alone(tmp_path: Path) -> None:
    assert not list(engine_findings(settings_of(tmp_path, URL="http://127.0.0.1:9")))
