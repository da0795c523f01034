"""One module per page: its data as a frozen dataclass with help per field, and its handlers."""
