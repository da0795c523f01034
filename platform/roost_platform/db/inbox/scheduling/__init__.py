"""What people do with schedules in a chat: commands, buttons and words."""
