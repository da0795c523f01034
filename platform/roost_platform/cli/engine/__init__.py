"""Commands about the bundled engine: its profiles and its drafters."""
