"""People on FakeTelegram: what they do on their phones and what they see there."""
