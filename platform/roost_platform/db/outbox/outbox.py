"""The outbox in the database: implements the port that delivery lanes and progress run on."""

from roost_platform.db.outbox.lanes import LaneStore
from roost_platform.db.outbox.parts import PartStore
from roost_platform.db.outbox.waits import WaitStore
from roost_platform.db.turns.status import StatusStore


class OutboxStore(LaneStore, PartStore, WaitStore, StatusStore):
    """Implements `roost_channels.outbox.Outbox`; every method is one transaction."""
