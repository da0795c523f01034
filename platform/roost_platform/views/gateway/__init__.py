"""What people see of the gateway: its models, its keys, and what was used."""
