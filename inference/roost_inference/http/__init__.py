"""The engine over HTTP: routes, the preparation of requests, answers and metrics."""
