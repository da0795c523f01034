"""One module for each page: its data as a frozen dataclass, its declaration, its actions."""
