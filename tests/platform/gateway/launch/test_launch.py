"""`roost launch`: a profile of its own, a scoped key that ends with the client, nothing else."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from roost_platform.gateway.launch.client import Client, LaunchModel, Offer, Profile
from roost_platform.gateway.launch.clients import CLIENTS
from roost_platform.gateway.launch.install import find, install_commands, spelled
from roost_platform.gateway.launch.session import environment_of, without_proxy
from roost_platform.testing.command_line import FakeStack, roost, serving
from roost_platform.testing.providers.clients import files

KEY = "sk-roost-for-the-test"
MADE = {"id": "key-1", "name": "launch", "key": KEY}
# Writes down what it was started with, and ends with a code of its own.
PROGRAM = """#!/bin/sh
{ env; printf 'arg:%s\\n' "$@"; } > "$HOME/seen"
exit 7
"""


def profile_of(client: Client, folder: Path) -> Profile:
    models = [LaunchModel("fast", 8192), LaunchModel("big")]
    return client.profile(Offer("http://127.0.0.1:9", KEY, folder, models))


@pytest.fixture
def stack(tmp_path: Path) -> Any:
    data = tmp_path / "data"
    data.mkdir()
    (data / "roost.toml").write_text('[models.fast]\ntargets = ["roost/scripted"]\n')
    with serving(data) as fake:
        fake.refusal = (201, MADE)
        engine = {"name": "roost", "is_ours": True, "context_tokens": 8192}
        fake.answers["/api/models"] = {"models": [], "providers": [engine]}
        yield fake


def person(tmp_path: Path, program: str) -> dict[str, str]:
    """The environment of a person who has this client on PATH and a home of their own."""
    home, bin_folder = tmp_path / "home", tmp_path / "bin"
    for folder in (home, bin_folder):
        folder.mkdir()
    file = bin_folder / program
    file.write_text(PROGRAM)
    file.chmod(0o755)
    return {"HOME": str(home), "PATH": f"{bin_folder}:{os.environ['PATH']}"}


def settings_file(stack: FakeStack) -> dict[str, str]:
    return {"ROOST_CONFIG": str(stack.data / "roost.toml")}


def seen(tmp_path: Path) -> tuple[dict[str, str], list[str]]:
    """The environment and the arguments that the client got."""
    lines = (tmp_path / "home" / "seen").read_text().splitlines()
    arguments = [line[4:] for line in lines if line.startswith("arg:")]
    pairs = (line.partition("=") for line in lines if not line.startswith("arg:"))
    return {name: value for name, _, value in pairs}, arguments


@pytest.mark.parametrize("client", CLIENTS.values(), ids=lambda client: client.name)
def test_a_profile_stays_in_its_folder_and_names_the_key_only_where_it_must(
    client: Client, tmp_path: Path
) -> None:
    profile = profile_of(client, tmp_path)
    assert all(file.is_relative_to(tmp_path) for file in profile.files)
    assert str(tmp_path) in " ".join(profile.environment.values())
    text = "".join(profile.files.values())
    assert "http://127.0.0.1:9" in text + " ".join(profile.environment.values())
    assert "fast" in text + " ".join(profile.environment.values())
    assert (KEY in text) == (client.name == "cline"), "only Cline reads keys from nowhere else"
    assert KEY not in " ".join(profile.arguments), "arguments are seen by everyone here"
    for file, content in profile.files.items():
        if file.suffix == ".json" or file.suffix == ".yaml":
            json.loads(content)
        if file.suffix == ".toml":
            assert tomllib.loads(content)["model_context_window"] == 8192


@pytest.mark.parametrize("client", CLIENTS.values(), ids=lambda client: client.name)
def test_a_client_is_pinned_and_installed_without_scripts(client: Client, tmp_path: Path) -> None:
    text = spelled(install_commands(client, tmp_path))
    assert client.package.rpartition("=" if client.source == "pypi" else "@")[2][0].isdigit()
    assert client.package in text and str(tmp_path) in text
    assert ("--ignore-scripts" in text) or ("--only-binary" in text)
    assert "-g" not in text.split() and "--global" not in text


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("codex", ["-m", "gpt-5"]),
        ("codex", ["exec", "--profile=mine", "hello"]),
        ("codex", ["-c", "model_provider=openai"]),
        ("codex", ["-cmodel=x"]),
        ("codex", ["--config=model_providers.roost.base_url=x"]),
        ("claude", ["--model=opus"]),
        ("claude", ["--settings", "mine.json"]),
        ("opencode", ["run", "-m", "openai/gpt-5"]),
        ("cline", ["-kmine"]),
        ("cline", ["--data-dir", "/tmp"]),
        ("llm", ["-m", "gpt-4o-mini", "hello"]),
    ],
)
def test_an_option_that_the_profile_decides_is_refused(name: str, arguments: list[str]) -> None:
    assert CLIENTS[name].conflict(arguments) is not None


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("codex", ["exec", "-c", "model_reasoning_effort=high", "hello"]),
        ("codex", ["exec", "--", "-m"]),
        ("claude", ["-p", "which --model do you use?"]),
        ("opencode", ["run", "hello"]),
        ("llm", ["-T", "llm_time", "hello", "-"]),
    ],
)
def test_other_options_are_passed_on(name: str, arguments: list[str]) -> None:
    assert CLIENTS[name].conflict(arguments) is None


def test_a_client_gets_its_profile_and_no_secret_of_this_installation(tmp_path: Path) -> None:
    given = {
        **{"PATH": "/bin", "ROOST_API_TOKEN": "secret", "ANTHROPIC_API_KEY": "mine"},
        "ROOST_PROVIDERS__OPENAI__API_KEY": "secret",
    }
    made = environment_of(profile_of(CLIENTS["claude"], tmp_path), given)
    assert made["PATH"] == "/bin" and made["ANTHROPIC_AUTH_TOKEN"] == KEY
    assert "ANTHROPIC_API_KEY" not in made and "secret" not in made.values()


def test_launch_makes_a_key_runs_the_client_and_revokes_the_key(
    stack: FakeStack, tmp_path: Path
) -> None:
    env = person(tmp_path, "codex")
    done = roost(
        "launch", "codex", "--", "exec", "two words", data=stack.data, **settings_file(stack), **env
    )
    assert done.returncode == 7, done.stderr
    environment, arguments = seen(tmp_path)
    assert arguments == ["exec", "two words"]
    assert environment["GATEWAY_KEY"] == KEY
    assert not [name for name in environment if name.startswith("ROOST_")]
    profile = Path(environment["CODEX_HOME"])
    assert profile == stack.data / "launch" / "codex" / "profile"
    config = tomllib.loads((profile / "config.toml").read_text())
    assert (config["model"], config["model_provider"]) == ("fast", "roost")
    assert stat.S_IMODE((profile / "config.toml").stat().st_mode) == 0o600
    (look, *_), (create, _, body), (revoke, *_) = stack.requests
    assert (look, config["model_context_window"]) == ("GET /api/models", 8192)
    wanted = json.loads(body)
    assert (create, revoke) == ("POST /api/keys", "POST /api/keys/key-1/revoke")
    assert set(wanted["models"]) == {"fast", "roost"}
    assert 11 * 3600 < wanted["expires_at"] - time.time() <= 12 * 3600
    assert [path.name for path in files(tmp_path / "home") if ".local" not in str(path)] == ["seen"]


def test_a_client_reaches_a_gateway_on_this_machine_past_the_person_s_proxy(
    stack: FakeStack, tmp_path: Path
) -> None:
    proxy = {"HTTPS_PROXY": "http://proxy.example.com:3128", "NO_PROXY": "corp.example.com"}
    env = {**person(tmp_path, "llm"), **proxy, "HTTP_PROXY": "http://127.0.0.1:9"}
    done = roost("launch", "llm", data=stack.data, **settings_file(stack), **env)
    assert done.returncode == 7, done.stderr
    environment, _ = seen(tmp_path)
    for name in ("NO_PROXY", "no_proxy"):
        assert environment[name] == "corp.example.com,127.0.0.1"
    assert without_proxy("http://127.0.0.1:9", {"HTTP_PROXY": ""}) == {}
    assert without_proxy("https://models.example.com", proxy) == {}


def test_a_model_that_is_chosen_is_the_only_one_of_the_key(
    stack: FakeStack, tmp_path: Path
) -> None:
    env = person(tmp_path, "opencode")
    roost(
        *("launch", "opencode", "--model", "fast", "--expires", "1h"),
        data=stack.data,
        **settings_file(stack),
        **env,
    )
    wanted = json.loads(stack.requests[1][2])
    assert wanted["models"] == ["fast"] and wanted["expires_at"] - time.time() <= 3600
    profile = stack.data / "launch" / "opencode" / "profile"
    config = json.loads((profile / "opencode.json").read_text())
    assert set(config["provider"]["roost"]["models"]) == {"fast"}


@pytest.mark.parametrize("name", CLIENTS)
def test_print_shows_everything_and_changes_nothing(
    name: str, stack: FakeStack, tmp_path: Path
) -> None:
    env = person(tmp_path, "nothing")
    before = {str(path) for path in files(tmp_path)}
    done = roost(
        "launch", name, "--print", "--", "hello", data=stack.data, **settings_file(stack), **env
    )
    assert done.returncode == 0, done.stderr
    assert CLIENTS[name].package in done.stdout and "hello" in done.stdout
    assert "# environment" in done.stdout and "# command" in done.stdout
    assert KEY not in done.stdout
    assert [request for request, *_ in stack.requests] == ["GET /api/models"]
    assert {str(path) for path in files(tmp_path)} == before


def test_a_client_that_is_missing_is_told_with_the_command_that_installs_it(
    stack: FakeStack, tmp_path: Path
) -> None:
    env = person(tmp_path, "nothing")
    done = roost("launch", "cline", data=stack.data, **settings_file(stack), **env)
    assert done.returncode == 1
    assert "npm install --prefix" in done.stderr and "cline@3.0.65" in done.stderr
    assert stack.requests == []


def test_nothing_is_installed_without_a_yes(stack: FakeStack, tmp_path: Path) -> None:
    env = person(tmp_path, "npm")
    done = roost("launch", "cline", "--install", data=stack.data, **settings_file(stack), **env)
    assert (done.returncode, stack.requests) == (1, [])
    assert "Nothing was installed" in done.stderr
    assert not (tmp_path / "home" / "seen").exists()


def test_a_conflict_or_an_unknown_client_is_told_before_anything_happens(
    stack: FakeStack, tmp_path: Path
) -> None:
    env = person(tmp_path, "codex")
    taken = roost(
        "launch", "codex", "--", "-m", "x", data=stack.data, **settings_file(stack), **env
    )
    unknown = roost("launch", "emacs", data=stack.data, **settings_file(stack), **env)
    assert (taken.returncode, unknown.returncode) == (2, 2)
    assert "--model" in taken.stderr and "codex, claude, opencode" in unknown.stderr
    assert stack.requests == []


def test_the_installed_program_comes_before_the_one_on_path(tmp_path: Path) -> None:
    client = CLIENTS["opencode"]
    for name in ("opencode-linux-x64", "opencode-linux-x64-baseline"):
        folder = tmp_path / "node_modules" / name / "bin"
        folder.mkdir(parents=True)
        (folder / "opencode").write_text("")
    found = find(client, tmp_path)
    assert found is not None and "baseline" in str(found)


def test_a_signal_reaches_the_client_and_its_end_is_waited_for(tmp_path: Path) -> None:
    program = tmp_path / "client"
    program.write_text(
        "#!/bin/sh\ntrap 'echo caught; exit 9' TERM\necho ready\nwhile :; do sleep 0.05; done\n"
    )
    program.chmod(0o755)
    script = (
        "import os, sys; from pathlib import Path\n"
        "from roost_platform.gateway.launch.session import run\n"
        f"sys.exit(run(Path({str(program)!r}), [], dict(os.environ)))"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=env
    ) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "ready\n"
        started.send_signal(signal.SIGTERM)
        assert started.stdout.readline() == "caught\n"
        assert started.wait(20) == 9
