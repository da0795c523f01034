"""Which names are models: aliases, `provider/model`, and the engine in use without any settings."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from roost import Agent
from roost_inference.errors import QueueFull
from roost_platform.db import models
from roost_platform.errors import ConfigError
from roost_platform.gateway.keys.prices import Prices
from roost_platform.gateway.observing.live_figures import live_figures
from roost_platform.settings.config import load_settings
from roost_platform.stack.checks.gateway import agent_findings, gateway_findings
from roost_platform.testing.providers.gateway import gateway_server
from roost_platform.testing.providers.upstream import refused, upstream
from roost_platform.views.gateway.models import model_views
from roost_platform.wiring.models import open_catalogue
from roost_workflows.agents import AgentRegistry

HELLO = {"messages": [{"role": "user", "content": "say Hello"}]}
OPENAI = {"openai": {"base_url": "http://127.0.0.1:1/v1"}}


@pytest.mark.usefixtures("sqlite_url")
@pytest.mark.parametrize(
    "name", ["", None, "default", "roost", "scripted", "roost/scripted"], ids=repr
)
async def test_the_engine_in_use_answers_without_any_settings(
    tmp_path: Path, name: str | None
) -> None:
    async with gateway_server(tmp_path, overrides={}) as gateway:
        response = await gateway.post("/v1/chat/completions", {**HELLO, "model": name})
        assert response.status_code == 200, response.text
        assert response.json()["model"] == name or (not name and response.json()["model"])
        assert gateway.engine.requests[-1]["model"] == "scripted"
        await gateway.until_idle()
        async with gateway.database.read() as session:
            (row,) = list(await session.scalars(select(models.GatewayCall)))
        assert row.target == "roost/scripted" and row.model == (name or "default")


@pytest.mark.usefixtures("sqlite_url")
async def test_a_request_without_a_model_takes_the_default_one(tmp_path: Path) -> None:
    async with upstream() as provider:
        overrides = {
            "providers": {"p": {"base_url": provider.base_url}},
            "models": {"main": {"targets": ["p/m"]}},
            "gateway": {"default_model": "main"},
        }
        async with gateway_server(tmp_path, overrides=overrides) as gateway:
            for name in ("", "default"):
                await gateway.post("/v1/chat/completions", {**HELLO, "model": name})
            assert [body["model"] for body in provider.requests] == ["m", "m"]
            _, narrow = await gateway.new_key("narrow", models=("main",))
            mine = await gateway.post("/v1/chat/completions", HELLO, narrow)
            other = await gateway.post("/v1/chat/completions", {**HELLO, "model": "roost"}, narrow)
            assert (mine.status_code, other.status_code) == (200, 403)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"providers": OPENAI, "models": {"a": {"targets": ["opnai/gpt"]}}},
            "there is no provider 'opnai'; did you mean 'openai'?",
        ),
        (
            {"providers": OPENAI, "models": {"a": {"targets": ["openai/x"], "fallbacks": ["b"]}}},
            "fallbacks of the model 'a' names 'b', which is neither a model nor provider/model",
        ),
        (
            {
                "models": {
                    "a": {"targets": ["roost"], "fallbacks": ["b"]},
                    "b": {"targets": ["roost"], "fallbacks": ["c"]},
                    "c": {"targets": ["roost"], "fallbacks": ["b"]},
                }
            },
            "fallbacks leads back to where it began: b -> c -> b",
        ),
        (
            {"models": {"a": {"targets": ["roost"], "longer": ["a"]}}},
            "longer leads back to where it began: a -> a",
        ),
        ({"models": {"my model": {"targets": ["roost"]}}}, "'my model' can't be the name"),
        (
            {"models": {"fast": {"targets": ["roost"]}}, "gateway": {"default_model": "fsat"}},
            "gateway.default_model names 'fsat', which is neither a model nor provider/model; did "
            "you mean 'fast'?",
        ),
    ],
)
def test_models_that_do_not_fit_are_refused_at_the_start(
    tmp_path: Path, given: dict[str, Any], words: str
) -> None:
    settings = load_settings({"data_dir": tmp_path, **given}, environ={})
    with pytest.raises(ConfigError) as refused_by:
        open_catalogue(settings)
    assert words in str(refused_by.value)


@pytest.mark.parametrize("target", ["openai/", "openai", "/x", "*3", "openai/*2"])
def test_a_target_without_a_model_is_refused(tmp_path: Path, target: str) -> None:
    given = {"data_dir": tmp_path, "providers": OPENAI, "models": {"a": {"targets": [target]}}}
    with pytest.raises(ConfigError):
        load_settings(given, environ={})


def test_models_that_fall_back_to_each_other_over_two_lists_are_no_circle(tmp_path: Path) -> None:
    given = {
        "data_dir": tmp_path,
        "models": {
            "gpt-5.1": {"targets": ["roost*2", "roost/other"], "longer": ["big"]},
            "big": {"targets": ["roost/"], "fallbacks": ["gpt-5.1", "roost/x"]},
        },
    }
    catalogue = open_catalogue(load_settings(given, environ={}))
    first, _ = catalogue.find("gpt-5.1").targets
    assert (first.provider.name, first.model, first.weight) == ("roost", "", 2.0)
    assert catalogue.find("big").targets[0].health is first.health


async def test_the_console_sees_how_each_target_is(tmp_path: Path) -> None:
    given = {
        "data_dir": tmp_path,
        "providers": {"openai": {**OPENAI["openai"], "concurrency": 2}},
        "models": {"a": {"targets": ["openai/x", "roost"]}, "b": {"targets": ["openai/x"]}},
    }
    catalogue = open_catalogue(load_settings(given, environ={}))
    target = catalogue.find("b").targets[0]
    assert target.slots.take()
    attempt = target.health.begin()
    assert attempt is not None
    a, b = model_views(catalogue, Prices(), now=1000.0)
    first, second = a.targets
    assert (a.name, b.name, first.name, first.state) == ("a", "b", "openai/x", "up")
    assert (first.in_flight, first.in_flight_max) == (1, 2)
    attempt.failed(QueueFull("slow down", retry_after_s=30))
    attempt.leave()
    a, b = model_views(catalogue, Prices(), now=1000.0)
    first, second = a.targets
    assert (first.state, b.targets[0].state, b.is_usable) == ("cooling", "cooling", False)
    assert first.cooling_until in (1029.0, 1030.0) and first.last_error == "queue_full: slow down"
    assert (second.name, second.state, a.is_usable) == ("roost", "up", True)
    await catalogue.close()


async def test_a_running_call_is_counted_once_whatever_aliases_its_target_has(
    tmp_path: Path,
) -> None:
    given = {
        "data_dir": tmp_path,
        "providers": OPENAI,
        "models": {"a": {"targets": ["openai/x"]}, "b": {"targets": ["openai/x"]}},
    }
    catalogue = open_catalogue(load_settings(given, environ={}))
    for name in ("a", "openai/y"):  # the second one has no alias
        (target,) = catalogue.find(name).targets
        assert target.slots.take() and target.health.begin()
    figures = live_figures(catalogue, in_flight=3)
    assert (figures.running, figures.waiting) == ({"roost": 0, "openai": 2}, 1)
    assert figures.cooldowns == {"openai/x": 0}  # names that clients make up are not told
    await catalogue.close()


async def test_doctor_tells_providers_that_refuse_and_models_that_they_lack(
    tmp_path: Path,
) -> None:
    async with upstream(models=("m", "n")) as good, upstream() as bad:
        bad.listed = refused(401, "no such key", code="invalid_api_key")
        given = {
            "data_dir": tmp_path,
            "providers": {
                "good": {"base_url": good.base_url},
                "bad": {"base_url": bad.base_url},
                "away": {"base_url": "http://127.0.0.1:1/v1"},
            },
            "models": {"a": {"targets": ["good/m", "good/typo", "bad/m"]}},
        }
        found = await gateway_findings(load_settings(given, environ={}))
        told = {one.name: (one.level, one.detail) for one in found}
        assert told["models"][0] == "ok"
        assert told["provider bad"] == ("broken", "it refuses our key or account: no such key")
        assert told["provider away"][0] == "warning"
        assert told["provider good"][0] == "warning" and "typo" in told["provider good"][1]


def test_weights_share_out_what_goes_first(tmp_path: Path) -> None:
    given = {"data_dir": tmp_path, "models": {"a": {"targets": ["roost/x*3", "roost/y"]}}}
    catalogue = open_catalogue(load_settings(given, environ={}))
    catalogue.chance.seed(7)
    model = catalogue.find("a")
    firsts = [next(model.ordered(catalogue.chance)).model for _ in range(4000)]
    assert 2850 < firsts.count("x") < 3150


def test_the_environment_names_models_as_well(tmp_path: Path) -> None:
    environ = {
        "ROOST_PROVIDERS__OPENAI__BASE_URL": "http://127.0.0.1:1/v1",
        "ROOST_MODELS__FAST__TARGETS": json.dumps(["openai/gpt*2", "roost"]),
    }
    catalogue = open_catalogue(load_settings({"data_dir": tmp_path}, environ=environ))
    assert [target.name for target in catalogue.find("fast").targets] == ["openai/gpt", "roost"]


def test_doctor_names_an_agent_whose_model_is_not_there_and_makes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    settings = load_settings(
        {"data_dir": folder, "models": {"a": {"targets": ["roost"]}}}, environ={}
    )
    lost = AgentRegistry.of(Agent("guide", "Lead.", model="fast"), Agent("other", "Help."))
    (finding,) = agent_findings(settings, lost)
    assert (finding.level, "'guide'" in finding.detail) == ("broken", True)
    assert agent_findings(settings, AgentRegistry.of(Agent("guide", "Lead.", model="a"))) == []
    assert not folder.exists()
