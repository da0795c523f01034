"""Settings: declared once, read from the environment and roost.toml, shown with their origin."""
