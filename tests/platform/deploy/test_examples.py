"""The blocks of README.md and docs/ work as pasted; those with something to fill in say so.

The shell blocks of README.md run in tests/end_to_end/test_readme.py.
"""

import re
import shutil
import subprocess
import sys
import tomllib
from configparser import ConfigParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from roost.testing import MemorySchedules, ScriptedModel, call, run_agent
from roost_platform.settings.config import load_settings
from roost_platform.testing.processes import ROOT
from roost_workflows.agents import load_agents

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# extending.md's blocks are held to files and run by test_extending*.py, README's by test_readme.py.
SHELL_ELSEWHERE = {"README.md", "extending.md"}


class Block(NamedTuple):
    """A block of a page. tag: what stands behind the fence."""

    page: str
    tag: str
    text: str


def blocks() -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for indent, tag, body in re.findall(r"^( *)```([^\n]*)\n(.*?)^ *```$", text, re.M | re.S):
            body = re.sub(rf"^{indent}", "", body, flags=re.M)
            found.append(Block(page.name, tag, body))
    return found


BLOCKS = blocks()
EXAMPLES = [block for block in BLOCKS if block.tag == "sh example"]


def of(page: str, tag: str) -> list[str]:
    """The blocks of a page that are not shown of a file."""
    found = [block.text for block in BLOCKS if (block.page, block.tag) == (page, tag)]
    return [text for text in found if not text.startswith("# docs/examples/")]


def test_every_block_says_whether_it_runs() -> None:
    known = {"", "sh", "sh example", "python", "toml", "ini", "nginx", "caddyfile"}
    assert {block.tag for block in BLOCKS} <= known
    assert len(BLOCKS) > 30


@pytest.mark.parametrize("block", EXAMPLES, ids=lambda block: f"{block.page}: {block.text[:30]!r}")
def test_an_example_is_a_script_whose_variables_are_settings(block: Block) -> None:
    script = block.text
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
    assert checked.returncode == 0, checked.stderr
    named = dict(re.findall(r"^ *(ROOST_\w+)=(\S+)", script, re.M))
    load_settings(environ=named)  # each value is one that the setting takes


def test_every_block_that_runs_is_run_by_a_test() -> None:
    # What is left to this file; a page with another one says here which test runs it.
    assert {b.page for b in BLOCKS if b.tag == "sh"} - SHELL_ELSEWHERE == {
        "gateway.md",  # tests/platform/gateway/test_gateway_docs.py
        "operations.md",
    }
    assert {b.page for b in BLOCKS if b.tag == "python"} == {
        "README.md",
        "agents.md",
        "extending.md",
        "flows.md",  # tests/workflows/flows/test_flow_docs.py
        "gateway.md",
        "schedules.md",
    }


def defined(*sources: str) -> dict[str, Any]:
    module: dict[str, Any] = {"__name__": "my_agents"}
    for source in sources:
        exec(compile(source, "a block of the docs", "exec"), module)
    return module


async def test_the_agent_of_the_readme_books_once_however_often_it_is_tried() -> None:
    [source] = of("README.md", "python")
    made = defined(source)
    model = ScriptedModel(call("book_table", place="Aviva", people=2), "It is booked.")
    run = await run_agent(made["waiter"], "A table for two at Aviva.", model=model)
    assert [each.outcome.status for each in run.calls] == ["ok"]
    assert len(made["bookings"]) == 1


async def test_the_agent_and_the_test_of_the_agents_page_run() -> None:
    agent, test = of("agents.md", "python")
    made = defined(agent, test)
    tests = [value for name, value in made.items() if name.startswith("test_")]
    assert tests
    for each in tests:
        await each()


async def test_the_agent_of_the_schedules_page_keeps_a_reminder() -> None:
    [source] = of("schedules.md", "python")
    made, kept = defined(source), MemorySchedules(zone="Europe/Rome")
    model = ScriptedModel(call("remind", text="Call Ana", in_minutes=20), "I remind you.")
    run = await run_agent(made["helper"], "Remind me.", model=model, schedules=kept)
    assert [each.outcome.status for each in run.calls] == ["ok"]
    [wanted] = kept.wanted
    assert (wanted.kind, wanted.text) == ("reminder", "Call Ana")


def test_the_entry_point_of_the_agents_page_is_one_that_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [text] = of("agents.md", "toml")
    [names] = tomllib.loads(text)["project"]["entry-points"].values()
    (tmp_path / "my_agents.py").write_text(of("agents.md", "python")[0], encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_agents", raising=False)
    for name, path in names.items():
        assert load_agents(path).get(name) is not None


def test_the_file_of_settings_is_read(tmp_path: Path) -> None:
    [text] = of("settings.md", "toml")
    (tmp_path / "roost.toml").write_text(text, encoding="utf-8")
    settings = load_settings(environ={"ROOST_CONFIG": str(tmp_path / "roost.toml")})
    assert settings.public_base_url == "https://roost.example.org"


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    [text] = of("operations.md", "ini")
    unit = ConfigParser(strict=True, interpolation=None, delimiters=("=",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(text)
    service = unit["Service"]
    assert service["ExecStart"].split()[1:] == ["up", "--headless"]
    shutdown_s = load_settings(environ={}).delivery.shutdown_s
    assert float(service["TimeoutStopSec"]) > shutdown_s + 50
    analyze = shutil.which("systemd-analyze")
    if analyze:
        file = tmp_path / "roost.service"
        file.write_text(text.replace("/opt/roost/.venv/bin/roost", sys.executable))
        done = subprocess.run(
            [analyze, "verify", "--man=no", str(file)], capture_output=True, text=True, timeout=60
        )
        assert "roost.service" not in done.stdout + done.stderr, done.stderr


def test_proxies_pass_the_host_and_the_address_on_and_buffer_nothing() -> None:
    [nginx] = of("operations.md", "nginx")
    [caddy] = of("operations.md", "caddyfile")
    for text in (nginx, caddy):
        assert text.count("{") == text.count("}")
        assert "127.0.0.1:8420" in text and "roost.example.org" in text
    directives = {" ".join(line.split()) for line in nginx.splitlines()}
    assert {
        "proxy_buffering off;",
        "proxy_set_header Host $host;",
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
        "proxy_set_header X-Forwarded-Proto $scheme;",
        "ssl_reject_handshake on;",
    } <= directives
    statements = [line for line in nginx.splitlines() if line.strip() and line.strip()[0] != "#"]
    assert all(line.rstrip()[-1] in "{};" for line in statements)
    assert "flush_interval -1" in caddy
    body_max = load_settings(environ={}).web.max_body_bytes
    assert body_max < 5 * 1024 * 1024, "the proxies' limit lets through what Roost takes"
