"""One descriptor a channel: what registering one checks, and what it must not cost."""

import subprocess
import sys
from dataclasses import replace
from typing import Any, cast

import pytest

from roost_channels.capabilities import Capabilities
from roost_channels.channel import Channel, check_agreement
from roost_channels.console.channel import ConsoleChannel
from roost_channels.console.kind import KIND as CONSOLE
from roost_channels.registry import BUILT_IN, RegistrationError, load_kinds
from roost_channels.telegram.channel import CAPABILITIES as TELEGRAM_CAPABILITIES
from roost_channels.telegram.channel import TelegramChannel
from roost_channels.telegram.config import TelegramConfig
from roost_channels.telegram.kind import KIND as TELEGRAM
from roost_channels.webhook import WebhookRoute

HEAVY = ("aiogram", "twilio", "httpx2", "aiohttp", "markdown_it", "roost_channels.testing")


def test_the_registry_imports_no_adapter_and_no_library_of_one() -> None:
    code = f"import sys, roost_channels.registry; print([m for m in {HEAVY} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_every_built_in_kind_registers_and_can_be_told_apart() -> None:
    assert load_kinds() == BUILT_IN
    assert len({kind.name for kind in BUILT_IN}) == len(BUILT_IN)
    for kind in BUILT_IN:
        assert kind.label and kind.icon
        assert kind is CONSOLE or (kind.title and kind.setup and kind.probe and kind.sandbox)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"channel": "a:b"}, "not a channel name"),
        ({"section": "two__parts"}, "not a section name"),
        ({"name": "console"}, "the name is taken"),
        ({"section": "twilio", "routes": (), "webhooks": None}, "belongs to whatsapp"),
        ({"routes": (WebhookRoute("/api/x"),)}, "not below /hooks/"),
        ({"routes": (WebhookRoute("/hooks/twilio/status"),)}, "belongs to whatsapp"),
        ({"routes": ()}, "need each other"),
        ({"config": dict}, "not a ChannelConfig"),
    ],
)
def test_a_kind_that_collides_or_contradicts_itself_is_refused_by_name(
    change: dict[str, Any], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = replace(TELEGRAM, name="mine", section="mine", routes=(WebhookRoute("/hooks/mine"),))
    kind = replace(mine, **change)
    monkeypatch.setattr("roost_channels.console.kind.MINE", kind, raising=False)
    with pytest.raises(RegistrationError, match=problem):
        load_kinds(("roost_channels.console.kind:MINE",))


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("somewhere", "write module:attribute"),
        ("no_such_module:KIND", "can't be imported"),
        ("roost_channels.clock:KIND", "can't be imported"),
        ("roost_channels.clock:SystemClock", "not a ChannelKind"),
    ],
)
def test_a_name_that_leads_to_no_kind_says_so(name: str, problem: str) -> None:
    with pytest.raises(RegistrationError, match=problem):
        load_kinds((name,))


class Promising(ConsoleChannel):
    """A channel with other capabilities than its class can keep."""

    def __init__(self, capabilities: Capabilities) -> None:
        self.capabilities = capabilities


@pytest.mark.parametrize(
    ("promise", "problem"),
    [
        ({"reaction": "👀"}, "not Reacting"),
        ({"albums": (frozenset({"photo"}),), "album_max": 3, "media_bytes_max": 9}, "not Grouping"),
        ({"invitation": "Write to me"}, "not Inviting"),
        ({"text_max": 20}, "text_max"),
        ({"photo_bytes_max": 5}, "photo_bytes_max"),
        ({"can_edit": True}, "interval"),
    ],
)
def test_capabilities_without_the_verbs_for_them_are_refused(
    promise: dict[str, Any], problem: str
) -> None:
    promised = replace(ConsoleChannel.capabilities, **promise)
    with pytest.raises(TypeError, match=problem):
        check_agreement(cast(Channel, Promising(promised)))


async def test_the_adapters_keep_what_their_capabilities_promise() -> None:
    config = TelegramConfig.model_validate({"token": "42:x", "reaction": "👀"})
    telegram = TelegramChannel(config)
    check_agreement(ConsoleChannel())
    check_agreement(telegram)
    with pytest.raises(TypeError, match="album_max"):
        telegram.capabilities = replace(TELEGRAM_CAPABILITIES, album_max=1)
        check_agreement(telegram)
    await telegram.close()
