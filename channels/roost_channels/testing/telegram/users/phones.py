"""What tests and the /sim API use of FakeTelegram: users' actions and what their phones show."""

from typing import Any

from roost_channels.testing.telegram.schema import complaints
from roost_channels.testing.telegram.users.actions import UserActions
from roost_channels.testing.telegram.users.screen import SeenMessage, TelegramScreen


class TelegramPhones(UserActions):
    """The users of FakeTelegram with their phones; FakeTelegram adds the Bot API server."""

    _screen: TelegramScreen

    def visible(self, chat_id: int, thread: int | None = None) -> list[SeenMessage]:
        """The messages on the phone, oldest first: edits applied, deleted messages left out.

        thread: only the messages of that topic.
        """
        return self._screen.messages(chat_id, thread)

    def bot_texts(self, chat_id: int) -> list[str]:
        """The texts of the bot's messages on the phone, oldest first."""
        return [m.text for m in self._screen.messages(chat_id) if m.sender == "bot"]

    def typing(self, chat_id: int) -> bool:
        """Whether the phone shows that the bot is typing or uploading."""
        return self._screen.typing(chat_id)

    def draft(self, chat_id: int) -> str | None:
        """The text of the draft on the phone, or None."""
        return self._screen.draft(chat_id)

    def notifications(self, chat_id: int) -> int:
        """How often the phone rang."""
        return self._screen.notifications(chat_id)

    def highest_edit_rate(self, chat_id: int, window_s: float = 1.0) -> float:
        """Edits per second in the busiest window of `window_s` seconds."""
        return self._screen.highest_edit_rate(chat_id, window_s)

    def shortest_edit_interval(self, chat_id: int) -> float | None:
        """Seconds between the two closest edits; None with fewer than two edits."""
        return self._screen.shortest_edit_interval(chat_id)

    def screen_json(self, chat_id: int) -> dict[str, Any]:
        """The screen as the /sim API shows it."""
        return self._screen.to_json(chat_id)

    @property
    def polling(self) -> bool:
        """Whether a getUpdates call waits for an update now."""
        return self.core.updates.polling

    @property
    def complaints(self) -> list[str]:
        """The parameters in the calls so far that the Bot API's schema does not allow."""
        return [text for call in self.core.log.calls for text in complaints(call)]
