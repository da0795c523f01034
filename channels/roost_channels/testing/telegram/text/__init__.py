"""Message text: entities, parse modes and UTF-16 units."""
