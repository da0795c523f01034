"""Text on FakeTelegram: entities, parse modes and UTF-16 units."""
