"""Bodies that outsiders send to webhooks: a bounded parse of JSON."""

import json
import random

import pytest

from roost_channels.http.bodies import JSON_DEPTH_MAX, decoded, parse_json


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 200 + b"]" * 200,
        b'{"a":' * 500 + b"1" + b"}" * 500,
        b"\xff\xfe",
        b"",
        b"1" * 5000,
    ],
)
def test_json_that_is_too_deep_or_is_none_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):
        parse_json(body)
    assert decoded(body) is None


def test_json_up_to_the_bound_is_read() -> None:
    deepest = "[" * JSON_DEPTH_MAX + "]" * JSON_DEPTH_MAX
    assert parse_json(deepest) == json.loads(deepest)
    wide = {str(n): [n, {"x": None}] for n in range(random.Random(1).randint(1000, 2000))}
    assert parse_json(json.dumps(wide)) == wide
