"""The outbox: entries and parts to deliver, their states, receipts and evidence."""
