"""For tests: a chat that shows what a bot sends while a turn runs, over the outbox in memory."""

from dataclasses import replace
from typing import Any

from roost_channels.delivery.courier import Courier
from roost_channels.delivery.limits import Limiter
from roost_channels.message import Address, ReplyTarget
from roost_channels.outbox import ProgressSnapshot
from roost_channels.progress.renderer import ProgressRenderer
from roost_channels.telegram.channel import TelegramChannel
from roost_channels.telegram.config import TelegramConfig
from roost_channels.testing import FakeTelegram, VirtualClock
from roost_channels.testing.memory.outbox import MemoryOutbox

CHAT = 7
ADDRESS = Address("telegram", "42", str(CHAT))


def settings(telegram: FakeTelegram, **fields: Any) -> TelegramConfig:
    """The settings of an account at the fake."""
    known = {"token": telegram.token, "api_base": telegram.base_url, "poll_timeout_s": 1}
    return TelegramConfig.model_validate({**known, **fields})


class Phone:
    """One chat with a bot, the bot's courier and progress, on a clock that the test turns."""

    def __init__(self, telegram: FakeTelegram, clock: VirtualClock, **settings: str) -> None:
        self.telegram = telegram
        self.clock = clock
        settings |= {"token": telegram.token, "api_base": telegram.base_url}
        self.channel = TelegramChannel(TelegramConfig.model_validate(settings), clock=clock)
        self.outbox = MemoryOutbox(clock)
        self.restart()

    def restart(self) -> None:
        """A new courier process: nothing but storage survives."""
        self.courier = Courier(
            [self.channel], self.outbox, "courier", self.clock, limiter=Limiter()
        )
        self.renderer = ProgressRenderer([self.channel], self.courier.ledger)

    def turn(self, phase: str = "thinking", address: Address = ADDRESS, **fields: object) -> None:
        """Store how the turn `turn-1` stands now; it begins with the first call."""
        known = self.outbox.snapshots.get("turn-1") or ProgressSnapshot(
            turn_id="turn-1",
            conversation_id="c",
            address=address,
            generation=1,
            phase=phase,
            text="",
            tools=(),
            reply_to=ReplyTarget("1", quote="hello"),
            inbound_message_id="1",
            started_at=self.clock.time(),
            updated_at=self.clock.time(),
            version=0,
        )
        changed = replace(known, phase=phase, version=known.version + 1, **fields)  # type: ignore[arg-type]
        self.outbox.running(changed)

    async def after(self, seconds: float) -> list[str]:
        """Let time pass in ticks; returns what the bot shows then."""
        for _ in range(max(1, round(seconds / 0.25))):
            await self.clock.advance(0.25)
            await self.renderer.finish_step()
        return self.telegram.bot_texts(CHAT)

    def calls(self, method: str) -> int:
        """How often the bot called a method of the Bot API."""
        return len(self.telegram.calls_of(method))
