"""HTTP with the networks: bodies of a bounded size, and requests that go only where they may."""
