"""The ports over a store in memory for tests, which another process may share."""

from roost_workflows.testing.ports import memory_ports, remote_ports, serve_store
from roost_workflows.testing.records import Sent, StoredTurn
from roost_workflows.testing.store import MemoryStore

__all__ = ["MemoryStore", "Sent", "StoredTurn", "memory_ports", "remote_ports", "serve_store"]
