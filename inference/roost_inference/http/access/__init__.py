"""Who asks: the key of a request, and its id."""
