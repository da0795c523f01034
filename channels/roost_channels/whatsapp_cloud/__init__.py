"""WhatsApp through Meta's Cloud API: client, inbound, channel."""
