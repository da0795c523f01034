"""Profiles: settings of the engine by name, and what they were measured to do on a machine."""
