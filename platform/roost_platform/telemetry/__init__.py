"""Figures and spans of what this process commits: /metrics for Prometheus, OTLP for tracing."""
