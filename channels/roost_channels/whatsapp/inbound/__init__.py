"""What comes in from Twilio: webhooks, their forms, and messages that no webhook brought."""
