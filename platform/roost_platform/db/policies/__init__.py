"""What operators decide about agents and tools for everybody."""
