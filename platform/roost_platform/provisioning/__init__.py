"""Opens what several processes work with, from the settings."""
