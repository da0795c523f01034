"""Which target answers a request: order, weight, health, retries before the first byte."""
