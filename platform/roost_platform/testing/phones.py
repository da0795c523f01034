"""The fakes in a process of their own, and the phones of people who write to the agents."""

import os
import sys
from dataclasses import dataclass
from typing import Any

import httpx2

from roost_platform.testing.processes import SOURCES, Process, eventually, free_port

TOKEN = "4242:END-TO-END-TOKEN-0123456789abcdefghi"
BOT = "4242"
ACCOUNT_SID = "AC" + "0" * 32
AUTH_TOKEN = "auth-token-of-the-tests"
SENDER = "whatsapp:+15550001000"
NUMBER_ID = "106540352242922"


class Telegram:
    """The phone of somebody who writes to the bot, by the fake's /sim API."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.http = httpx2.Client(base_url=base, timeout=30)

    def say(self, chat: int, text: str, **more: Any) -> int:
        """Write to the bot; returns the message's id."""
        reply = self.http.post(f"/sim/chats/{chat}/messages", json={"text": text, **more})
        assert reply.status_code == 200, reply.text
        message_id: int = reply.json()["message_id"]
        return message_id

    def press(self, chat: int, message_id: int, data: str) -> None:
        """Press a button of a message."""
        reply = self.http.post(
            f"/sim/chats/{chat}/press", json={"message_id": message_id, "data": data}
        )
        assert reply.status_code == 200, reply.text

    def screen(self, chat: int) -> dict[str, Any]:
        """What the phone shows."""
        reply: dict[str, Any] = self.http.get(f"/sim/chats/{chat}").json()
        return reply

    def bot_messages(self, chat: int, *, after: int = 0) -> list[dict[str, Any]]:
        """The bot's answers and notices after message `after`, without status messages."""
        return [
            m
            for m in self.screen(chat)["messages"]
            if m["from"] == "bot" and m["message_id"] > after and not m["buttons"]
        ]

    def answer(self, chat: int, after: int, *, within_s: float = 40.0) -> dict[str, Any]:
        """The bot's first answer after `after`; fails when none comes in time."""
        answers = eventually(
            f"an answer in chat {chat}",
            lambda: self.bot_messages(chat, after=after),
            within_s=within_s,
        )
        return answers[0]

    def calls(self) -> list[dict[str, Any]]:
        """Every call of the Bot API so far."""
        reply: Any = self.http.get("/sim/calls").json()
        calls: list[dict[str, Any]] = reply["calls"] if isinstance(reply, dict) else reply
        return calls


class WhatsApp:
    """The phone of somebody who writes to the WhatsApp sender."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.http = httpx2.Client(base_url=base, timeout=30)

    def say(self, user: str, text: str, **more: Any) -> str:
        """Write to the sender; returns the message's SID."""
        reply = self.http.post(f"/sim/users/{user}/messages", json={"text": text, **more})
        assert reply.status_code == 200, reply.text
        sid: str = reply.json()["sid"]
        return sid

    def bot_messages(self, user: str) -> list[dict[str, Any]]:
        """Our messages on the screen, oldest first."""
        screen = self.http.get(f"/sim/users/{user}").json()
        return [m for m in screen["messages"] if m["from"] == "bot"]


@dataclass
class Phones:
    """The three phones, and the settings that point a stack at their networks."""

    telegram: Telegram
    whatsapp: WhatsApp
    cloud: WhatsApp
    settings: dict[str, str]


def start_phones(web: str) -> tuple[Process, Phones]:
    """Start the fakes in a process of their own; `web` is where they deliver webhooks to."""
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
