"""`/api/models` and `roost models`: what the console shows, for programs and terminals."""

import asyncio
import json
from pathlib import Path

import httpx2
import pytest

from roost_platform.cli import look
from roost_platform.cli.api_client import ApiClient
from roost_platform.db.stores import Stores
from roost_platform.testing.api_server import api_server
from roost_platform.testing.console.gateway import quiet_serving


async def test_models_are_told_with_errors_for_operators_alone(
    stores: Stores, tmp_path: Path
) -> None:
    async with (
        api_server(stores, tmp_path, gateway=quiet_serving()) as server,
        httpx2.AsyncClient(base_url=server.url) as http,
    ):
        told = {
            role: (await http.get("/api/models", headers=server.as_(role))).json()
            for role in ("viewer", "operator")
        }
        nobody = await http.get("/api/models")
    assert nobody.status_code == 401
    for answer in told.values():
        assert [one["name"] for one in answer["models"]] == ["fast", "best", "broken"]
        assert [one["state"] for one in answer["providers"]] == ["up", "up", "refused"]
    assert "not` good" in json.dumps(told["operator"])
    assert "not` good" not in json.dumps(told["viewer"])


async def test_without_a_gateway_there_are_no_models(stores: Stores, tmp_path: Path) -> None:
    async with (
        api_server(stores, tmp_path) as server,
        httpx2.AsyncClient(base_url=server.url) as http,
    ):
        answer = (await http.get("/api/models", headers=server.as_("viewer"))).json()
    assert answer == {"models": [], "providers": []}


async def test_the_command_lists_targets_and_fails_for_a_model_without_one(
    stores: Stores,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with api_server(stores, tmp_path, gateway=quiet_serving()) as server:

        def connect(_: object) -> ApiClient:
            return ApiClient(server.url, server.tokens["operator"])

        monkeypatch.setattr(look, "connect", connect)
        with pytest.raises(SystemExit) as ended:
            await asyncio.to_thread(look.models, tmp_path)
    assert ended.value.code == 1  # nothing answers `broken`
    lines = capsys.readouterr().out
    assert "hosted/mini" in lines and "engine_refused" in lines
