"""Real clients complete a turn with a tool call. Run by `make clients`, never by `make test`.

CLIENTS_DIR: where they are installed, by default a folder in the person's cache.
"""

import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from roost_platform.gateway.launch.client import Client
from roost_platform.gateway.launch.clients import CLIENTS
from roost_platform.gateway.launch.install import find, install
from roost_platform.testing.providers.clients import FINISHED, MARK, TASK, drive, run, script, told
from roost_platform.testing.providers.gateway import GatewayServer, gateway_server

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

CACHE = Path(os.environ.get("CLIENTS_DIR") or Path.home() / ".cache" / "roost-clients")
PYDANTIC_AI = "pydantic-ai-slim[openai]==2.68.0"
ECHO = {"command": "echo marker-$((40+2))", "description": "Say the mark"}
# By client: its arguments, and the tools of which it is made to call the first that it offers.
TURNS: Mapping[str, tuple[Sequence[str], Mapping[str, Mapping[str, Any]]]] = {
    "codex": (
        (
            *("exec", "--skip-git-repo-check", "--strict-config"),
            *("--dangerously-bypass-approvals-and-sandbox", TASK),
        ),
        {
            "exec_command": {"cmd": ECHO["command"]},
            "shell_command": {"command": ECHO["command"]},
            "shell": {"command": ["bash", "-c", ECHO["command"]]},
        },
    ),
    "claude": (("-p", TASK, "--allowedTools", "Bash"), {"Bash": ECHO}),
    "opencode": (("run", "--auto", TASK), {"bash": ECHO}),
    "cline": (
        ("--json", TASK),
        {"run_commands": {"commands": [ECHO["command"]]}, "bash": ECHO},
    ),
    "llm": (
        ("--functions", "def mark(of: int) -> str:\n    return f'marker-{of}'", TASK),
        {"mark": {"of": 42}},
    ),
}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[GatewayServer]:
    folder = tmp_path / "data"
    folder.mkdir()
    async with gateway_server(folder) as server:
        yield server


def program_of(client: Client) -> Path:
    folder = CACHE / client.name / "program"
    found = find(client, folder)
    return found if found and found.is_relative_to(folder) else install(client, folder)


@pytest.mark.parametrize("name", TURNS)
async def test_a_client_completes_a_turn_with_a_tool(
    gateway: GatewayServer, tmp_path: Path, name: str
) -> None:
    arguments, tools = TURNS[name]
    client = CLIENTS[name]
    script(gateway, tools)
    turn = await drive(gateway, client, program_of(client), tmp_path, arguments)
    assert turn.code == 0, turn.output
    assert MARK in turn.output.replace(" ", ""), turn.output
    assert any(MARK in result for result in turn.tool_results), turn
    assert turn.paths == [], "the person's own folders stay as they were"


async def test_pydantic_ai_completes_a_turn_with_a_tool(
    gateway: GatewayServer, tmp_path: Path
) -> None:
    folder = CACHE / "pydantic-ai"
    python = folder / "bin" / "python"
    if not python.exists():
        for command in (
            [sys.executable, "-m", "venv", str(folder)],
            [str(python), "-m", "pip", "install", "-q", "--only-binary", ":all:", PYDANTIC_AI],
        ):
            code, output = await run(command, {**os.environ, "PYTHONPATH": ""}, tmp_path)
            assert code == 0, output
    script(gateway, {"mark": {"of": 42}})
    file = tmp_path / "agent.py"
    file.write_text(
        "from pydantic_ai import Agent\n"
        "from pydantic_ai.models.openai import OpenAIChatModel\n"
        "agent = Agent(OpenAIChatModel('fast'))\n"
        "@agent.tool_plain\n"
        "def mark(of: int) -> str:\n"
        "    return f'marker-{of}'\n"
        f"print(agent.run_sync({TASK!r}).output)\n"
    )
    environment = {
        **{"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        **{"OPENAI_API_KEY": gateway.secret, "OPENAI_BASE_URL": f"{gateway.url}/v1"},
    }
    code, output = await run([str(python), str(file)], environment, tmp_path)
    assert (code, FINISHED in output) == (0, True), output
    assert any(MARK in result for result in told(gateway))
