"""`roost health PART`: what is wrong with one process, for the health checks of containers."""

import asyncio

from roost_platform.data_folder.process_identity import is_running
from roost_platform.masking import mask
from roost_platform.settings.config import Settings
from roost_platform.stack import probes


def check(part: str, settings: Settings, *, is_here: bool = False) -> str:
    """What is wrong with a process; empty when it is well.

    is_here: it runs on this machine if at all, so its pid says more than its last heartbeat.
    """
    if part == "temporal":
        address = settings.temporal_address
        return "" if probes.port_answers(address) else f"{address} does not answer"
    if part == "engine":
        return probes.engine_problem(settings)
    if part == "web":
        url = f"http://{probes.reach(settings.web.host)}:{settings.web.port}/api/health"
        status, _ = probes.get_json(url)
        return "" if status == 200 else f"{url} answers {status or 'nothing'}"
    if part in ("worker", "courier"):
        return asyncio.run(heartbeat(part, settings, is_here=is_here))
    return "there is no such part"


async def heartbeat(part: str, settings: Settings, *, is_here: bool = False) -> str:
    """What is wrong with a process by its last heartbeat; empty when it is alive."""
    from sqlalchemy.exc import SQLAlchemyError

    from roost_platform.db.base.existing import open_existing
    from roost_platform.db.services import Heartbeats
    from roost_platform.errors import NotReachable

    try:
        database = open_existing(settings.database_url)
    except NotReachable as error:
        return str(error)
    try:
        for service in await Heartbeats(database).all():
            if service.service == part and is_here and not is_running(service.pid, ""):
                return f"ended; last sign of life at {service.seen_at:.0f}"
            if service.service == part:
                return "" if service.is_alive else f"last sign of life at {service.seen_at:.0f}"
        return "never seen"
    except (SQLAlchemyError, OSError) as error:
        return f"the database can't be asked: {mask(str(error).splitlines()[0])}"
    finally:
        await database.close()
