"""Read models: what console, API and command line show, as frozen dataclasses."""
