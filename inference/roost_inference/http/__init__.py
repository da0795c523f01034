"""The engine over HTTP: routes, the wire format, answers and metrics."""
