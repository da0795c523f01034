"""A phone with Relay, for the console's Sandbox page."""

import httpx2

from roost_channels.sandbox.phone import (
    HttpPhone,
    PhoneLook,
    PhoneScreen,
    ShownMessage,
    TypedMessage,
)


class RelayPhone(HttpPhone):
    """One person's chat with us."""

    look = PhoneLook(name="relay", label="Relay", caption="on a fake server")

    def __init__(self, client: httpx2.AsyncClient, url: str, person: str) -> None:
        super().__init__(client, f"{url}/sim/chats/{person}")
        self._person = person

    async def screen(self) -> PhoneScreen:
        """The chat as it reads now."""
        seen = await self.read() or {"messages": ()}
        texts = {message["id"]: message for message in seen["messages"]}
        return PhoneScreen(
            tuple(
                ShownMessage(
                    id=message["id"],
                    is_mine=message["from"] == self._person,
                    text=message["text"],
                    at=message["at"],
                    reply_text=texts.get(message["reply_to"], {}).get("text", ""),
                    reply_is_mine=texts.get(message["reply_to"], {}).get("from") == self._person,
                )
                for message in seen["messages"]
            )
        )

    async def says(self, message: TypedMessage) -> None:
        """Send a message, perhaps a reply."""
        await self.act("messages", {"text": message.text, "reply_to": message.reply_to})
