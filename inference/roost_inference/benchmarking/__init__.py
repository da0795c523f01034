"""Measurements of engines over the wire: workloads, the servers they run against, the record."""
