"""What people write to be reminded, and what they read of it."""
