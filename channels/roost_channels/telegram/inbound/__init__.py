"""What comes in from Telegram: updates by polling or webhook, read into messages."""
