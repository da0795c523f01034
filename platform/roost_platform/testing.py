"""For tests: a whole Roost as a person starts it, two phones, and the means to kill any part."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx2

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
SOURCES = ":".join(
    str(ROOT / folder) for folder in ("platform", "channels", "workflows", "inference")
)
TOKEN = "4242:END-TO-END-TOKEN-0123456789abcdefghi"
BOT = "4242"
ACCOUNT_SID = "AC" + "0" * 32
AUTH_TOKEN = "auth-token-of-the-tests"
SENDER = "whatsapp:+15550001000"
NUMBER_ID = "106540352242922"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(what: str, probe: Callable[[], T | None], *, within_s: float = 30.0) -> T:
    """The first truthy result of `probe`, or a failure that says what never came."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        result = probe()
        if result:
            return result
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {within_s:.0f} s")


def descendants(pid: int) -> Iterator[tuple[int, list[str]]]:
    """(pid, command line) of every living process below `pid`, read from /proc."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue  # it ended meanwhile
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    for child in parents:
        ancestor = child
        while ancestor in parents and ancestor != pid:
            ancestor = parents[ancestor]
        if ancestor == pid and child != pid:
            try:
                raw = Path(f"/proc/{child}/cmdline").read_bytes()
            except OSError:
                continue
            yield child, raw.decode(errors="replace").rstrip("\0").split("\0")


@dataclass
class Process:
    """A child with its output drained; `lines` is what it printed so far."""

    argv: list[str]
    env: dict[str, str]
    lines: list[str] = field(default_factory=list)

    def start(self) -> None:
        self.popen = subprocess.Popen(
            self.argv,
            env=self.env,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.reader = threading.Thread(target=self._drain, daemon=True)
        self.reader.start()

    def _drain(self) -> None:
        assert self.popen.stdout is not None
        with self.popen.stdout as output:
            for line in output:
                self.lines.append(line.rstrip())

    def wait_for(self, prefix: str, within_s: float) -> str:
        def look() -> str | None:
            if self.popen.poll() is not None:
                raise AssertionError(f"{self.argv} ended:\n" + "\n".join(self.lines[-40:]))
            return next((line for line in self.lines if line.startswith(prefix)), None)

        try:
            return eventually(f"a line {prefix!r}", look, within_s=within_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n" + "\n".join(self.lines[-40:])) from None

    def stop(self) -> None:
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGINT)
            try:
                self.popen.wait(40)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait(10)
        self.reader.join(5)
        if self.popen.stdout:
            self.popen.stdout.close()


class Stack:
    """One data folder and the `roost up` that runs on it."""

    def __init__(self, data: Path, settings: dict[str, str]) -> None:
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        clean = {k: v for k, v in os.environ.items() if not k.startswith("ROOST_")}
        self.env = clean | {"PYTHONPATH": SOURCES, "ROOST_DATA_DIR": str(data)} | settings
        self.process: Process | None = None

    def start(self, within_s: float = 90.0) -> None:
        self.process = Process(
            [
                *[sys.executable, "-m", "roost_platform", "up", "--headless"],
                *["--port", str(self.port), "--data", str(self.data)],
            ],
            self.env,
        )
        self.process.start()
        line = self.process.wait_for("ready ", within_s)
        assert line == f"ready {self.url}"

    def stop(self) -> None:
        if self.process:
            self.process.stop()
            self.process = None

    def part(self, name: str) -> int:
        """The pid of `roost serve NAME`; for temporal of the server itself."""
        assert self.process is not None
        for pid, command in descendants(self.process.popen.pid):
            if name == "temporal" and "start-dev" in command:
                return pid
            if name != "temporal" and command[-2:] == ["serve", name]:
                return pid
        raise AssertionError(f"{name} does not run")

    def kill(self, name: str) -> None:
        """kill -9 of one part."""
        os.kill(self.part(name), signal.SIGKILL)

    def cli(self, *arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "roost_platform", *arguments],
            env=self.env,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def api(self, path: str, method: str = "GET", **kwargs: Any) -> Any:
        token = (self.data / "api-token").read_text().strip()
        reply = httpx2.request(
            method,
            self.url + path,
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
            **kwargs,
        )
        assert reply.status_code < 400, (reply.status_code, reply.text)
        return reply.json()

    def engine_url(self) -> str:
        run = json.loads((self.data / "run.json").read_text())
        return f"http://127.0.0.1:{run['engine']}"


class Telegram:
    """The phone of somebody who writes to the bot, through the fake's own door."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.http = httpx2.Client(base_url=base, timeout=30)

    def say(self, chat: int, text: str, **more: Any) -> int:
        reply = self.http.post(f"/sim/chats/{chat}/messages", json={"text": text, **more})
        assert reply.status_code == 200, reply.text
        message_id: int = reply.json()["message_id"]
        return message_id

    def press(self, chat: int, message_id: int, data: str) -> None:
        reply = self.http.post(
            f"/sim/chats/{chat}/press", json={"message_id": message_id, "data": data}
        )
        assert reply.status_code == 200, reply.text

    def screen(self, chat: int) -> dict[str, Any]:
        reply: dict[str, Any] = self.http.get(f"/sim/chats/{chat}").json()
        return reply

    def bot_messages(self, chat: int, *, after: int = 0) -> list[dict[str, Any]]:
        """The bot's answers and notices after `after`: not a status with its Stop button."""
        return [
            m
            for m in self.screen(chat)["messages"]
            if m["from"] == "bot" and m["message_id"] > after and not m["buttons"]
        ]

    def answer(self, chat: int, after: int, *, within_s: float = 40.0) -> dict[str, Any]:
        found = eventually(
            f"an answer in chat {chat}",
            lambda: self.bot_messages(chat, after=after),
            within_s=within_s,
        )
        return found[0]

    def calls(self) -> list[dict[str, Any]]:
        reply: Any = self.http.get("/sim/calls").json()
        calls: list[dict[str, Any]] = reply["calls"] if isinstance(reply, dict) else reply
        return calls


class WhatsApp:
    """The phone of somebody who writes to the WhatsApp sender."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.http = httpx2.Client(base_url=base, timeout=30)

    def say(self, user: str, text: str, **more: Any) -> str:
        reply = self.http.post(f"/sim/users/{user}/messages", json={"text": text, **more})
        assert reply.status_code == 200, reply.text
        sid: str = reply.json()["sid"]
        return sid

    def bot_messages(self, user: str) -> list[dict[str, Any]]:
        screen = self.http.get(f"/sim/users/{user}").json()
        return [m for m in screen["messages"] if m["from"] == "bot"]


@dataclass
class Phones:
    telegram: Telegram
    whatsapp: WhatsApp
    cloud: WhatsApp
    settings: dict[str, str]


def start_phones(web: str) -> tuple[Process, Phones]:
    telegram_port, twilio_port, cloud_port = free_port(), free_port(), free_port()
    process = Process(
        [
            *[sys.executable, "-m", "roost_channels.testing"],
            *["--telegram-port", str(telegram_port), "--twilio-port", str(twilio_port)],
            *["--token", TOKEN, "--account-sid", ACCOUNT_SID, "--auth-token", AUTH_TOKEN],
            *["--sender", SENDER, "--twilio-webhook", f"{web}/hooks/twilio/inbound"],
            *["--cloud-port", str(cloud_port), "--phone-number-id", NUMBER_ID],
            *["--cloud-webhook", f"{web}/hooks/whatsapp-cloud/{NUMBER_ID}"],
        ],
        dict(os.environ) | {"PYTHONPATH": SOURCES},
    )
    process.start()
    telegram = Telegram(f"http://127.0.0.1:{telegram_port}")
    whatsapp = WhatsApp(f"http://127.0.0.1:{twilio_port}")
    cloud = WhatsApp(f"http://127.0.0.1:{cloud_port}")

    def up() -> bool:
        try:
            fakes = (telegram.http, whatsapp.http, cloud.http)
            return all(http.get("/sim/calls").is_success for http in fakes)
        except httpx2.HTTPError:
            return False

    eventually("both phones", up, within_s=20)
    settings = {
        "ROOST_TELEGRAM__TOKEN": TOKEN,
        "ROOST_TELEGRAM__API_BASE": telegram.base,
        "ROOST_TELEGRAM__ACCESS": "open",
        "ROOST_TWILIO__ACCOUNT_SID": ACCOUNT_SID,
        "ROOST_TWILIO__AUTH_TOKEN": AUTH_TOKEN,
        "ROOST_TWILIO__FROM": SENDER,
        "ROOST_TWILIO__API_BASE": whatsapp.base,
        "ROOST_TWILIO__ACCESS": "open",
        "ROOST_WHATSAPP_CLOUD__PHONE_NUMBER_ID": NUMBER_ID,
        "ROOST_WHATSAPP_CLOUD__ACCESS_TOKEN": "sandbox-access-token",
        "ROOST_WHATSAPP_CLOUD__APP_SECRET": "sandbox-app-secret",
        "ROOST_WHATSAPP_CLOUD__VERIFY_TOKEN": "of-the-tests",
        "ROOST_WHATSAPP_CLOUD__API_BASE": cloud.base,
        "ROOST_WHATSAPP_CLOUD__ACCESS": "open",
        "ROOST_PUBLIC_BASE_URL": web,
    }
    return process, Phones(telegram, whatsapp, cloud, settings)


@dataclass
class World:
    """A running stack and the phones that reach it."""

    stack: Stack
    phones: Phones


def run_world(tmp: Path, settings: dict[str, str]) -> Iterator[World]:
    stack = Stack(tmp / "data", settings)
    process, phones = start_phones(stack.url)
    stack.env |= phones.settings
    try:
        stack.start()
        yield World(stack, phones)
    finally:
        stack.stop()
        process.stop()
        phones.telegram.http.close()
        phones.whatsapp.http.close()
        phones.cloud.http.close()
