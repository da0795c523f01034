"""Both fakes as one process: the internet behind `roost up --sandbox`."""

import asyncio
from collections.abc import Callable

from roost_channels.testing.telegram import FakeTelegram
from roost_channels.testing.twilio import FakeTwilio

# Ids go on from the seconds since 2020, so that a restarted sandbox never repeats one.
ID_EPOCH_S = 1_577_836_800


async def serve_sandbox(
    *,
    token: str,
    account_sid: str,
    auth_token: str,
    sender: str,
    twilio_webhook: str = "",
    telegram_port: int = 0,
    twilio_port: int = 0,
    on_ready: Callable[[str, str], None] | None = None,
) -> None:
    """Serve until cancelled.

    twilio_webhook: our inbound webhook, a full URL. on_ready: called with both base URLs,
    Telegram's first, once both listen.
    """
    twilio = FakeTwilio(
        account_sid, auth_token, sender, webhook_url=twilio_webhook, port=twilio_port
    )
    first_id = int(twilio.clock.time()) - ID_EPOCH_S
    telegram = FakeTelegram(
        token, port=telegram_port, first_update_id=first_id, first_message_id=first_id
    )
    async with telegram, twilio:
        if on_ready is not None:
            on_ready(telegram.base_url, twilio.base_url)
        await asyncio.Event().wait()
