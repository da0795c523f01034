"""Prices of hosted models, from the data in the package genai-prices; nothing is ever fetched.

The package is imported when a price is asked for: processes without hosted providers never load it.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from roost_platform.gateway.config import PriceConfig, TieredPrice

# Names by which a provider is one of these wherever its address leads, such as to a proxy.
HOSTED: Final = frozenset(
    {
        *("anthropic", "aws", "azure", "cerebras", "cohere", "deepseek", "fireworks", "google"),
        *("groq", "mistral", "moonshotai", "novita", "openai", "openrouter", "perplexity"),
        *("together", "x-ai", "zai"),
    }
)
_DATE: Final = re.compile(r"[-@](\d{8}|\d{4}-\d{2}-\d{2}|latest|preview)$")


def is_hosted(name: str, base_url: str) -> bool:
    """Whether the provider is somebody's service, by its name or its public address."""
    host = urlsplit(base_url).hostname or ""
    if name in HOSTED:
        return True
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith((".local", ".internal", ".lan", ".localhost"))


@dataclass(slots=True)
class HostedPrices:
    """Finds prices. base_urls: by the names of the providers."""

    base_urls: Mapping[str, str]
    _providers: dict[str, Any] = field(default_factory=dict)

    def load(self) -> None:
        """Read the data, which takes a few tenths of a second."""
        for name in self.base_urls:
            self._provider(name)

    def find(self, provider: str, model: str) -> PriceConfig | None:
        """The price of a provider's model in dollars for a million tokens; None if not known."""
        base_url = self.base_urls.get(provider)
        if base_url is None or not is_hosted(provider, base_url):
            return None
        known = self._provider(provider)
        if known is None:
            return None
        for name in variants(model):
            if found := known.find_model(name, all_providers=_snapshot().providers):
                return _price(found.get_prices(datetime.now(UTC)))
        return None

    def _provider(self, name: str) -> Any:
        """The package's own entry of a provider: by its address, else by its name."""
        if name not in self._providers:
            self._providers[name] = _entry(name, self.base_urls[name])
        return self._providers[name]


def variants(model: str) -> Iterator[str]:
    """The name, and what it may be a variant of: `openai/gpt-4o-mini:free`, `models/gemini-x`,
    `ft:gpt-4o-mini:team::id`, `claude-x@20250929`, `gpt-x-latest`.
    """
    seen: set[str] = set()
    name = model.strip().lower()
    tuned = name.removeprefix("ft:").partition(":")[0] if name.startswith("ft:") else name
    for one in (name, tuned, tuned.rpartition("/")[2], tuned.rpartition("/")[2].partition(":")[0]):
        for variant in (one, _DATE.sub("", one)):
            if variant and variant not in seen:
                seen.add(variant)
                yield variant


def _entry(name: str, base_url: str) -> Any:
    snapshot = _snapshot()
    for wanted in ((None, base_url), (name if name in HOSTED else "", None)):
        try:
            return snapshot.find_provider(None, *wanted)
        except LookupError:
            continue
    return None


def _snapshot() -> Any:
    from genai_prices.data_snapshot import get_snapshot  # large, and needed by few

    return get_snapshot()


def _price(prices: Any) -> PriceConfig:
    """The package's price as ours, with its steps by the length of the prompt."""
    names = ("input_mtok", "cache_read_mtok", "cache_write_mtok", "output_mtok")
    given = [getattr(prices, name, None) for name in names]
    starts = sorted({tier.start for price in given for tier in getattr(price, "tiers", ())})
    price = _at(given, starts[-1] if starts else None)
    for index in reversed(range(len(starts))):
        below = _at(given, starts[index - 1] if index else None)
        price = TieredPrice(**below.model_dump(), above_tokens=starts[index], above=price)
    return price


def _at(given: list[Any], start: int | None) -> PriceConfig:
    """The prices from this step on; None for the first."""
    values: list[float | None] = []
    for price in given:
        value = getattr(price, "base", price)
        for tier in getattr(price, "tiers", ()):
            if start is not None and tier.start <= start:
                value = tier.price
        values.append(None if value is None else float(value))
    read, cached, written, output = values
    return PriceConfig(input=read or 0.0, cached=cached, cache_write=written, output=output or 0.0)
