"""Registers a bot's commands and its webhook with Telegram when it starts."""

import logging
from collections.abc import Sequence
from typing import Any

from roost_channels.clock import Clock
from roost_channels.errors import AuthBroken, DeliveryError
from roost_channels.intake import Intake
from roost_channels.kinds import ChatCommand
from roost_channels.telegram.bot_api import methods, types
from roost_channels.telegram.client import TelegramClient
from roost_channels.telegram.config import TelegramConfig
from roost_channels.telegram.inbound import updates
from roost_channels.telegram.inbound.polling import BACKOFF_MAX_S, BACKOFF_S
from roost_channels.telegram.inbound.webhook import checked_secret

logger = logging.getLogger(__name__)

COMMANDS_TIMEOUT_S = 5


async def register_commands(client: TelegramClient, commands: Sequence[ChatCommand]) -> None:
    """Set the command menu if it differs; a failure is harmless."""
    wanted = [types.BotCommand(command=one.name, description=one.description) for one in commands]
    try:
        told: Any = await client.call(
            methods.GetMyCommands(), repeatable=True, timeout_s=COMMANDS_TIMEOUT_S
        )
        current = told if isinstance(told, list) else []
        shown = [(getattr(c, "command", ""), getattr(c, "description", "")) for c in current]
        if shown != [(one.name, one.description) for one in commands]:
            change = methods.SetMyCommands(commands=wanted)
            await client.call(change, repeatable=True, timeout_s=COMMANDS_TIMEOUT_S)
    except DeliveryError as error:
        logger.warning("commands not registered: %s", error)


async def register_webhook(
    client: TelegramClient,
    config: TelegramConfig,
    public_base_url: str,
    intake: Intake,
    clock: Clock,
    auth_probe_s: float,
) -> None:
    """Point Telegram at our webhook, trying until it is done."""
    secret = checked_secret(config)
    hook = methods.SetWebhook(
        url=f"{public_base_url.rstrip('/')}/hooks/telegram/{config.account}",
        secret_token=secret,
        allowed_updates=list(updates.ALLOWED_UPDATES),
    )
    wait = BACKOFF_S
    while True:
        try:
            await client.call(hook, repeatable=True)
            await intake.channel_state("telegram", config.account, "up", "webhook")
            return
        except DeliveryError as error:
            state = "auth_error" if isinstance(error, AuthBroken) else "degraded"
            await intake.channel_state("telegram", config.account, state, str(error))
            await clock.sleep(auth_probe_s if isinstance(error, AuthBroken) else wait)
            wait = min(wait * 2, BACKOFF_MAX_S)
