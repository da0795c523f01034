"""Turns a process's figures and spans on, as the settings say."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from roost_inference.http.listener import listening
from roost_platform.db.base.committed import facts
from roost_platform.db.base.engine import Database
from roost_platform.settings.config import Settings
from roost_platform.settings.servers import provider_servers
from roost_platform.stack import local_ports
from roost_platform.version import VERSION

if TYPE_CHECKING:
    from roost_platform.gateway.observing.facts import LiveFigures

GATEWAY_PARTS = frozenset({"web", "worker"})  # the parts with model calls
QUEUES_OF = "courier"  # one part alone shows the queues, or sums would count them three times

Live = Callable[[], "LiveFigures"]


@contextlib.asynccontextmanager
async def measured(
    settings: Settings, part: str, database: Database, live: Live | None = None
) -> AsyncIterator[None]:
    """Serve /metrics and export spans while the block runs, where settings ask for it.

    live: the gateway's figures at a moment, in the process that serves it.
    Raises PortInUse. Libraries of what is off are not imported.
    """
    async with contextlib.AsyncExitStack() as stack:
        await _serve_metrics(stack, settings, part, database, live)
        _export_spans(stack, settings, part)
        yield


async def _serve_metrics(
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    part: str,
    database: Database,
    live: Live | None,
) -> None:
    config = settings.metrics
    port = {
        "web": config.web_port,
        "worker": config.worker_port,
        "courier": config.courier_port,
    }.get(part)
    if port is None:
        return
    from roost_platform.telemetry.endpoint import metrics_app
    from roost_platform.telemetry.figures import Figures
    from roost_platform.telemetry.queues import queue_depths

    if not local_ports.is_free(config.host, port):
        raise local_ports.in_use(port, f"metrics of {part}")
    figures = Figures(part)
    stack.callback(facts.listen(figures.take))
    if part in GATEWAY_PARTS:
        from roost_platform.gateway.observing import facts as gateway_facts
        from roost_platform.telemetry.gateway_figures import GatewayFigures

        of_calls = GatewayFigures(figures.registry, settings.models, live)
        stack.callback(gateway_facts.listen(of_calls.take))
    depths = (lambda: queue_depths(database)) if part == QUEUES_OF else None
    app = metrics_app(figures, config.token.get_secret_value(), depths)
    await stack.enter_async_context(listening(app, config.host, port))


def _export_spans(stack: contextlib.AsyncExitStack, settings: Settings, part: str) -> None:
    config = settings.telemetry
    if not config.otlp_endpoint:
        return
    from roost_platform.telemetry.spans import Spans, otlp_exporter

    headers = {name: value.get_secret_value() for name, value in config.otlp_headers.items()}
    spans = Spans(otlp_exporter(config.otlp_endpoint, headers), part, VERSION)
    servers = provider_servers(settings)
    stack.push_async_callback(asyncio.to_thread, spans.close)
    stack.callback(facts.listen(spans.take))
    if part in GATEWAY_PARTS:
        from roost_platform.gateway.observing import facts as gateway_facts
        from roost_platform.telemetry.call_spans import CallSpans

        calls = CallSpans(spans, servers)
        stack.callback(gateway_facts.listen(calls.take))
