"""JSON goes out as Python's own encoder writes it, with null for what JSON has no word for."""

import json
import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from roost_platform.gateway.encoding import encode

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda of: st.lists(of) | st.dictionaries(st.text(), of),
    max_leaves=20,
)


def finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: finite(one) for name, one in value.items()}
    return [finite(one) for one in value] if isinstance(value, list) else value


@settings(max_examples=300, deadline=None, derandomize=True)
@given(VALUES)
def test_what_is_written_is_what_was_meant(value: Any) -> None:
    assert json.loads(encode(value)) == json.loads(json.dumps(finite(value)))


def test_deep_values_and_halves_of_characters_are_written() -> None:
    deep: dict[str, Any] = {"text": "\ud83d", "number": math.nan}
    for _ in range(300):
        deep = {"a": deep}
    written = json.loads(encode(deep))
    for _ in range(300):
        written = written["a"]
    assert written == {"text": "\ud83d", "number": None}
