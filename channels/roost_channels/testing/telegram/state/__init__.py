"""What FakeTelegram holds: its world, files, updates and flood windows."""
