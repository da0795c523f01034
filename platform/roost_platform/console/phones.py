"""The sandbox's phones: what their screens show, by the fakes' /sim API."""

import asyncio
from collections.abc import Callable, Sequence

import httpx2

from roost_channels.sandbox.phone import PhoneError, SandboxPhone
from roost_platform.console.bubbles import Phone, bubbles, draft_bubble
from roost_platform.errors import NotFound

SIM_TIMEOUT_S = 3.0
TITLE = "Roost"

# (tone, phone) for every fake network, in the order of the page.
OpenPhones = Callable[[httpx2.AsyncClient], Sequence[tuple[str, SandboxPhone]]]


class Phones:
    """One phone for each way to people."""

    def __init__(self, open_phones: OpenPhones) -> None:
        self._client = httpx2.AsyncClient(timeout=SIM_TIMEOUT_S, trust_env=False)
        self._phones = tuple(open_phones(self._client))

    def named(self, name: str) -> SandboxPhone:
        """The phone of that name; raises NotFound."""
        for _, phone in self._phones:
            if phone.look.name == name:
                return phone
        raise NotFound("There is no such phone.")

    async def screens(self) -> tuple[Phone, ...]:
        """What every phone shows now; one whose network does not answer is dark."""
        shown = (_screen(tone, phone) for tone, phone in self._phones)
        return tuple(await asyncio.gather(*shown))

    async def close(self) -> None:
        """Release the connections."""
        await self._client.aclose()


async def _screen(tone: str, phone: SandboxPhone) -> Phone:
    try:
        screen = await phone.screen()
    except PhoneError as error:
        return Phone(phone.look, tone, TITLE, problem=str(error))
    draft = None if screen.draft is None else draft_bubble(screen.draft, phone.look)
    return Phone(
        phone.look,
        tone,
        TITLE,
        bubbles(screen, phone.look),
        # The draft shows that an answer is being written.
        screen.is_typing and draft is None,
        draft=draft,
    )
