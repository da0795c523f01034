"""People of a storm who answer what they are asked, on phones of real processes."""

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import httpx2

from roost_channels.message import CARD_BUTTON
from roost_platform.testing import Phones

DECIDES = 0.85  # how often a card that is seen is answered at once; else it is seen again later
AGREES = 0.75
TWICE = 0.3
LOOKS_MAX = 3  # at one card
PHONES_A_LOOK = 5


class StormPeople:
    """Press buttons of cards: soon or later, once or twice."""

    def __init__(
        self, phones: Phones, telegram: Sequence[str], whatsapp: Sequence[str], seed: int
    ) -> None:
        self.presses = 0
        self._phones = phones
        self._telegram = telegram
        self._whatsapp = whatsapp
        self._rng = random.Random(seed)
        self._pressed: dict[str, float] = {}
        self._counts: Counter[str] = Counter()

    def look(self) -> None:
        """Let some people look at their phones."""
        for chat in self._rng.sample(self._telegram, min(PHONES_A_LOOK, len(self._telegram))):
            messages = self._phones.telegram.screen(int(chat))["messages"]
            for message in messages:
                data = [str(button["data"]) for button in message["buttons"]]
                for choice in self._chosen(data):
                    path = f"/sim/chats/{chat}/press"
                    body = {"message_id": message["message_id"], "data": choice}
                    self._press(self._phones.telegram.http, path, body)
        for user in self._rng.sample(self._whatsapp, min(PHONES_A_LOOK, len(self._whatsapp))):
            for message in self._phones.whatsapp.bot_messages(user):
                data = [str(button["id"]) for button in message["buttons"]]
                for choice in self._chosen(data):
                    path = f"/sim/users/{user}/press"
                    body = {"sid": message["sid"], "id": choice}
                    self._press(self._phones.whatsapp.http, path, body)

    def _chosen(self, data: Sequence[str]) -> Iterator[str]:
        """The buttons to press now, if the message is a card that was not answered a while ago."""
        own = [one for one in data if one.startswith(CARD_BUTTON)]
        if not own or self._rng.random() > DECIDES:
            return
        nonce = own[0].rpartition(":")[0] + own[0].rpartition(":")[2][:1]
        if time.monotonic() - self._pressed.get(nonce, 0.0) < 20.0:
            return
        # Cards that can't be edited keep their buttons, and every press of them is answered.
        if self._counts[nonce] >= LOOKS_MAX:
            return
        self._counts[nonce] += 1
        self._pressed[nonce] = time.monotonic()
        choice = own[0 if self._rng.random() < AGREES else min(1, len(own) - 1)]
        yield choice
        if self._rng.random() < TWICE:
            yield choice

    def _press(self, http: httpx2.Client, path: str, body: dict[str, Any]) -> None:
        """A button that went while the finger came is not pressed."""
        if http.post(path, json=body).status_code == 200:
            self.presses += 1
