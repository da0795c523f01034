"""Progress: what people see while a turn runs."""
