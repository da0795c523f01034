"""The Temporal server for one machine: found, set up, and kept apart from other versions' files."""

import logging
import os
import socket
import subprocess
from pathlib import Path

import httpx2
import pytest
from temporalio.client import WorkflowExecutionStatus

from roost_workflows.errors import DevServerError
from roost_workflows.server.connection import connect
from roost_workflows.server.devserver import (
    database_file,
    find_binary,
    lock_data,
    server_version,
    set_aside_others,
    temporal_command,
)
from roost_workflows.testing.lab import Lab


def program(folder: Path, script: str) -> Path:
    path = folder / "temporal"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_the_installed_server_pushes_cancellation() -> None:
    version = server_version(find_binary())
    assert tuple(map(int, version.split("."))) >= (1, 32, 0)


def test_the_command_carries_the_measured_settings(tmp_path: Path) -> None:
    command = temporal_command(find_binary(), tmp_path / "data", 7233)
    text = " ".join(command)
    assert "--ip 127.0.0.1 --port 7233" in text
    assert "--sqlite-pragma journal_mode=wal" in text
    assert "frontend.WorkerCommandsEnabled=true" in text
    assert "system.enableCancelActivityWorkerCommand=true" in text
    assert "history.transferProcessorMaxPollRPS=1000" in text
    assert command[command.index("--db-filename") + 1].startswith(str(tmp_path / "data"))


def test_a_file_of_another_version_is_set_aside_not_opened(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old, mine = database_file(tmp_path, "1.31.2"), database_file(tmp_path, "1.32.0")
    for path in (old, Path(f"{old}-wal"), mine, Path(f"{mine}-wal")):
        path.write_text(path.name)
    with caplog.at_level(logging.WARNING):
        moved = set_aside_others(tmp_path, "1.32.0")
    assert sorted(path.name for path in moved) == [
        "temporal-1.31.2.db-wal.set-aside",
        "temporal-1.31.2.db.set-aside",
    ]
    assert moved[0].read_text().startswith("temporal-1.31.2.db")
    assert mine.exists() and Path(f"{mine}-wal").exists()
    assert [record.getMessage().count("set aside") for record in caplog.records] == [1]
    assert set_aside_others(tmp_path, "1.32.0") == []


def test_two_servers_can_not_share_a_folder(tmp_path: Path) -> None:
    with lock_data(tmp_path), pytest.raises(DevServerError, match=r"uses .* already"):
        lock_data(tmp_path)
    lock_data(tmp_path).close()


def test_a_child_keeps_the_lock_of_its_dead_parent(tmp_path: Path) -> None:
    with lock_data(tmp_path) as held:
        child = subprocess.Popen(["sleep", "60"], pass_fds=[held.fileno()])
    try:
        with pytest.raises(DevServerError):
            lock_data(tmp_path)
    finally:
        child.kill()
        child.wait()


def test_a_missing_or_broken_binary_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DevServerError, match="not an executable"):
        find_binary(str(tmp_path / "nothing"))
    assert find_binary(str(program(tmp_path, "true"))) == tmp_path / "temporal"
    with pytest.raises(DevServerError, match="does not tell"):
        server_version(program(tmp_path, "echo no version"))
    with pytest.raises(DevServerError, match="does not run"):
        server_version(program(tmp_path, "exit 3"))
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path / "empty"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_binary() == tmp_path / "temporal"
    os.unlink(tmp_path / "temporal")
    with pytest.raises(DevServerError, match="not installed"):
        find_binary()


async def test_a_server_that_does_not_answer_is_told_by_its_address() -> None:
    with pytest.raises(TimeoutError, match=r"127\.0\.0\.1:1 "):
        await connect("127.0.0.1:1", timeout_s=0.3)


async def test_a_namespace_that_is_missing_is_told(lab: Lab, temporal_address: str) -> None:
    with pytest.raises(TimeoutError, match="'elsewhere'"):
        await connect(temporal_address, "elsewhere", timeout_s=0.3)


async def test_no_web_page_can_use_the_server_s_http_port(tmp_path: Path) -> None:
    with socket.socket() as probe, socket.socket() as other:
        probe.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        port, http_port = probe.getsockname()[1], other.getsockname()[1]
    command = [*temporal_command(find_binary(), tmp_path, port), "--http-port", str(http_port)]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        client = await connect(f"127.0.0.1:{port}", timeout_s=60)
        handle = await client.start_workflow("Nobody", id="running", task_queue="nowhere")
        base = f"http://127.0.0.1:{http_port}/api/v1/namespaces"
        page = {"origin": "https://evil.example", "content-type": "text/plain"}
        async with httpx2.AsyncClient(trust_env=False) as http:
            for host in ("127.0.0.1", f"localhost:{http_port}", "evil.example"):
                headers = {**page, "host": host}
                url = f"{base}/default/workflows/running/terminate"
                assert (await http.post(url, content="{}", headers=headers)).status_code == 403
                assert (await http.get(base, headers=headers)).status_code == 403
        assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    finally:
        server.terminate()
        server.wait(30)
