"""What the pages show, read from the tables in one transaction each, as frozen dataclasses."""
