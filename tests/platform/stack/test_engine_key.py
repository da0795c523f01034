"""The engine's key: minted once for a folder, private, shared by its parts, sent nowhere else."""

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from roost_inference.http.listener import listening
from roost_inference.testing.scripted import ScriptedEngine
from roost_platform.data_folder import running_stack as stack
from roost_platform.data_folder.engine_key import KEY_FILE, engine_key, with_engine_key
from roost_platform.settings.config import Settings, load_settings
from roost_platform.stack import probes
from roost_platform.stack.addresses import choose_ports
from roost_platform.stack.up import Options, environment
from roost_platform.wiring.engine import engine_client


def settings_of(folder: Path, **environ: str) -> Settings:
    return load_settings({"data_dir": folder}, environ=environ)


def test_a_key_is_minted_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "data")
    assert engine_key(settings) == "", "looking mints nothing"
    key = engine_key(with_engine_key(settings))
    assert len(key) >= 32
    assert engine_key(with_engine_key(settings)) == engine_key(settings) == key
    file = tmp_path / "data" / KEY_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [entry.name for entry in file.parent.iterdir()] == [KEY_FILE]
    assert engine_key(with_engine_key(settings_of(tmp_path / "other"))) != key


def test_the_first_of_several_parts_that_start_at_once_chooses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = stack.write_private

    def slower(file: Path, text: str) -> None:
        (tmp_path / KEY_FILE).write_text("the first one's")
        write(file, text)

    monkeypatch.setattr(stack, "write_private", slower)
    second = with_engine_key(settings_of(tmp_path))
    assert second.engine.api_key.get_secret_value() == "the first one's"
    assert engine_key(settings_of(tmp_path)) == "the first one's"


def test_a_configured_key_counts_and_another_engine_never_gets_ours(tmp_path: Path) -> None:
    minted = engine_key(with_engine_key(settings_of(tmp_path)))
    own = settings_of(tmp_path, ROOST_ENGINE__API_KEY="chosen")
    assert engine_key(with_engine_key(own)) == "chosen"
    foreign = settings_of(tmp_path, ROOST_ENGINE__URL="https://engine.example/v1")
    assert engine_key(foreign) == engine_key(with_engine_key(foreign)) == ""
    assert minted


def test_roost_up_tells_its_parts_the_key(tmp_path: Path) -> None:
    settings = with_engine_key(settings_of(tmp_path, ROOST_WEB__PORT="0"))
    told = environment(settings, Options(), choose_ports(settings, sandbox=False))
    assert told["ROOST_ENGINE__API_KEY"] == engine_key(settings)


async def test_parts_and_checks_send_it_and_a_wrong_one_is_told(tmp_path: Path) -> None:
    key = engine_key(with_engine_key(settings_of(tmp_path)))
    engine = ScriptedEngine(api_key=key)
    async with listening(engine.app) as url:
        port = url.rpartition(":")[2]
        settings = settings_of(tmp_path, ROOST_ENGINE__PORT=port)
        async with engine_client(settings) as client:
            assert await client.models() == ["scripted"]
        assert await asyncio.to_thread(probes.engine_problem, settings) == ""
        engine_settings = settings.engine.model_copy(update={"api_key": SecretStr("wrong")})
        wrong = settings.model_copy(update={"engine": engine_settings})
        assert "refuses the key" in await asyncio.to_thread(probes.engine_problem, wrong)


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (402, {"error": {"message": "Insufficient Balance"}}, "HTTP 402: Insufficient Balance"),
        (403, {"message": "Forbidden here"}, "HTTP 403: Forbidden here"),
        (200, {"data": [{"id": "other"}]}, "serves no model 'mine'"),
        (200, {"data": [{"id": "mine"}]}, ""),
    ],
)
async def test_another_engines_refusal_is_told_in_its_own_words(
    tmp_path: Path, status: int, body: dict[str, Any], told: str
) -> None:
    async def models(request: Request) -> Response:
        return JSONResponse(body, status)

    async def chat(request: Request) -> Response:
        return JSONResponse({"error": {"message": "messages is empty"}}, 400)

    routes = [
        Route("/v1/models", models),
        Route("/v1/chat/completions", chat, methods=["POST"]),
    ]
    app = Starlette(routes=routes)
    async with listening(app) as url:
        settings = settings_of(tmp_path, ROOST_ENGINE__URL=url, ROOST_ENGINE__MODEL_NAME="mine")
        problem = await asyncio.to_thread(probes.engine_problem, settings)
    assert told in problem and bool(told) == bool(problem)
