"""What operators see of the gateway."""
