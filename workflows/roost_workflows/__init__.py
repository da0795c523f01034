"""Durable sessions on Temporal: the session workflow, its activities and its worker."""
