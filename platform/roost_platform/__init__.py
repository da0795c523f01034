"""The control plane: configuration, database, intake, console, API, wiring, command line and supervisor."""
