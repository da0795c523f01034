"""The data folder: its private files, the engine's key, and which stack runs on it."""
