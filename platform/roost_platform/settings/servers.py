"""The host and port of each provider of the gateway, without what may be secret in its address."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from roost_platform.gateway.config import BUNDLED
from roost_platform.settings.config import Settings

PORTS = {"https": 443, "http": 80}


def provider_servers(settings: Settings) -> Mapping[str, tuple[str, int]]:
    """Return (host, port) by the name of the provider."""
    urls = {name: config.base_url for name, config in settings.providers.items()}
    servers = {}
    for name, url in {BUNDLED: settings.engine_url, **urls}.items():
        parts = urlsplit(url)
        servers[name] = (parts.hostname or "", parts.port or PORTS.get(parts.scheme, 0))
    return servers
