"""WhatsApp through Twilio: inbound, format, channel."""
