"""What is told of the gateway: what became of calls, what is true now, whether a target answers."""
