"""The storage ports in memory, by the platform's rules, for tests of adapters and lanes."""
