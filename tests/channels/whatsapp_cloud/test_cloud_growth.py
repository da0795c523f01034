"""A large batch takes time in proportion to its parts, whatever is large in it."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest

from roost_channels.whatsapp_cloud.testing import NUMBER, Site
from roost_platform.testing.growth import grows_in_proportion

COUNT = 1000

Fields = dict[str, Any]


def text(number: int, **more: Any) -> Fields:
    known = {"from": str(16500000000 + number), "id": f"wamid.{number}", "timestamp": "1700000000"}
    return {**known, "type": "text", "text": {"body": "hi"}, **more}


def person(number: int) -> Fields:
    return {"wa_id": str(16500000000 + number), "profile": {"name": f"Person {number}"}}


def one(kind: str, content: Any) -> Fields:
    return {"messages": [text(1, type=kind, **{kind: content})]}


SHAPES: dict[str, Callable[[int], Fields]] = {
    "messages of people": lambda n: {
        "contacts": [person(number) for number in range(n)],
        "messages": [text(number) for number in range(n)],
    },
    "messages of strangers": lambda n: {
        "contacts": [person(number) for number in range(n)],
        "messages": [text(n + number) for number in range(n)],
    },
    "cards": lambda n: one("contacts", [{"name": {"formatted_name": "x"}}] * n),
    "phones": lambda n: one(
        "contacts", [{"name": {"formatted_name": "x"}, "phones": [{"phone": "1"}] * n}]
    ),
    "items": lambda n: one("order", {"product_items": [{"quantity": 1, "item_price": 2}] * n}),
    "a kind to come": lambda n: one("hologram", {str(number): [{}] for number in range(n)}),
    "receipts": lambda n: {"statuses": [{"id": f"w{n}", "status": "sent"}] * n},
}


def signed(fields: Fields) -> tuple[dict[str, str], bytes]:
    value = {"metadata": {"phone_number_id": NUMBER}, **fields}
    change = {"field": "messages", "value": value}
    body = json.dumps({"entry": [{"id": "1", "changes": [change]}]}).encode()
    proof = hmac.new(b"test-app-secret", body, hashlib.sha256).hexdigest()
    return {"x-hub-signature-256": f"sha256={proof}"}, body


@pytest.mark.parametrize("kind", SHAPES)
def test_a_batch_costs_in_proportion_to_its_parts(kind: str) -> None:
    with asyncio.Runner() as runner:

        def prepare(count: int) -> Callable[[], None]:
            site, (headers, body) = Site(), signed(SHAPES[kind](count))

            def work() -> None:
                assert runner.run(site.hooks.receive(headers, body)).status == 200

            return work

        assert grows_in_proportion(prepare, COUNT)
