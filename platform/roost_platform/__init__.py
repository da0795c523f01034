"""The control plane: settings, database, intake, console, API, wiring, CLI and supervisor."""
