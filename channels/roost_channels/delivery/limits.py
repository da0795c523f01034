"""How fast each account, chat and kind of call may be used: token buckets and learned waits."""

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Literal

from roost_channels.capabilities import Capabilities
from roost_channels.message import Address

Family = Literal["send", "edit", "delete", "typing"]

# Buckets remembered at once; the longest unused is forgotten, and starts full again.
BUCKETS_MAX = 20_000
# Progress leaves this share of an account's burst to answers.
KEPT_FOR_ANSWERS = 0.5
# Stands for every chat of an account where a wait applies to all of them.
ACCOUNT = ""


@dataclass(slots=True)
class Bucket:
    """A token bucket: tokens come back with time, and one call takes one."""

    capacity: float
    per_s: float
    tokens: float
    at: float

    def wait_s(self, now: float, wanted: float = 1.0) -> float:
        """Seconds until that many tokens are there."""
        self._fill(now)
        return 0.0 if self.tokens >= wanted else (wanted - self.tokens) / self.per_s

    def take(self, now: float) -> None:
        """Take one token; the bucket may fall below zero."""
        self._fill(now)
        self.tokens -= 1.0

    def _fill(self, now: float) -> None:
        self.tokens = min(self.capacity, self.tokens + max(0.0, now - self.at) * self.per_s)
        # Rounding must never leave a token a little short of itself.
        self.tokens = round(self.tokens, 9)
        self.at = now


class Limiter:
    """Buckets per account, chat and family, and the waits that providers asked for."""

    def __init__(self, *, account_rate: float = 25.0, chat_burst: int = 3) -> None:
        self._account_rate = account_rate
        self._chat_burst = chat_burst
        self._buckets: OrderedDict[tuple[str, ...], Bucket] = OrderedDict()
        # When each wait was learned, and its end.
        self._blocked: OrderedDict[tuple[str, str, str], tuple[float, float]] = OrderedDict()

    def wait_s(
        self,
        address: Address,
        capabilities: Capabilities,
        family: Family,
        now: float,
        *,
        gives_way: bool = False,
    ) -> float:
        """Seconds until a call of this family may go to this chat; 0 for now.

        gives_way: answers go before it where the account is short of calls.
        """
        keys = _chat(address), _chat(replace(address, chat=ACCOUNT))
        blocked = max(self._blocked_s(key, now) for key in keys)
        account, chat = self._for(address, capabilities, family, now)
        wanted = max(1.0, account.capacity * KEPT_FOR_ANSWERS) if gives_way else 1.0
        return max(0.0, blocked, account.wait_s(now, wanted), chat.wait_s(now))

    def take(
        self, address: Address, capabilities: Capabilities, family: Family, now: float
    ) -> None:
        """Count one call."""
        for bucket in self._for(address, capabilities, family, now):
            bucket.take(now)

    def learn(self, address: Address, retry_after_s: float, now: float) -> None:
        """Block every call to this chat, or to all chats of ACCOUNT, for that many seconds."""
        chat = _chat(address)
        self._blocked[chat] = now, now + max(retry_after_s, self._blocked_s(chat, now))
        self._blocked.move_to_end(chat)
        while len(self._blocked) > BUCKETS_MAX:
            self._blocked.popitem(last=False)

    def _blocked_s(self, chat: tuple[str, str, str], now: float) -> float:
        learned, until = self._blocked.get(chat, (now, now))
        if now < learned:  # the clock was set back: the wait begins anew, and is no longer
            until += now - learned
            self._blocked[chat] = now, until
        return until - now

    def _for(
        self, address: Address, capabilities: Capabilities, family: Family, now: float
    ) -> tuple[Bucket, Bucket]:
        account = ("account", address.channel, address.account)
        per_s, capacity = self._chat_rate(address, capabilities, family)
        chat = (family, *_chat(address))
        rate = self._account_rate
        return self._bucket(account, rate, rate, now), self._bucket(chat, per_s, capacity, now)

    def _chat_rate(
        self, address: Address, capabilities: Capabilities, family: Family
    ) -> tuple[float, float]:
        """Calls per second to one chat, and how many may follow at once."""
        group = address.is_group
        if family in ("typing", "delete"):
            return 1.0, 5.0
        if family == "edit":
            return 1.0 / max(capabilities.edit_interval_s[group], 0.05), 1.0
        interval = capabilities.send_interval_s
        if group:  # a group's budget is shared by all that we do there
            interval = max(interval, capabilities.edit_interval_s[1])
        return 1.0 / max(interval, 0.001), float(capabilities.send_burst or self._chat_burst)

    def _bucket(self, key: tuple[str, ...], per_s: float, capacity: float, now: float) -> Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(capacity, per_s, capacity, now)
            while len(self._buckets) > BUCKETS_MAX:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return bucket


def _chat(address: Address) -> tuple[str, str, str]:
    return address.channel, address.account, address.chat
