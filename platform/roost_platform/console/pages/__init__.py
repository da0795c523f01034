"""One module per page: its data as a frozen dataclass (each field says what it is for), its handlers."""
