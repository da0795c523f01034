"""Joins sessions with storage, and with Temporal."""

from temporalio.client import Client

from roost_platform.db.stores import Stores
from roost_platform.intake import TemporalDoorbell
from roost_platform.settings.config import Settings
from roost_workflows.hints.session_hints import SessionHints
from roost_workflows.ports import Ports


def worker_ports(stores: Stores, hints: SessionHints) -> Ports:
    """Return what sessions use of storage and of the engine."""
    return Ports(
        *(stores.turns, stores.notes),
        artifacts=stores.artifacts,
        hints=hints,
        waits=stores.waits,
        schedules=stores.schedules,
        flows=stores.flows,
        stops=stores.stop_news,
    )


async def temporal_doorbell(settings: Settings) -> TemporalDoorbell:
    """Return a doorbell that connects when it first rings: no message waits for Temporal."""
    client = await Client.connect(
        settings.temporal_address, namespace=settings.temporal.namespace, lazy=True
    )
    return TemporalDoorbell(client, settings.worker.task_queue)
