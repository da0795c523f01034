"""The users of FakeTelegram: their actions, the updates these cause, and their screens."""
