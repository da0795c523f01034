"""The gateway and providers on loopback for tests."""
