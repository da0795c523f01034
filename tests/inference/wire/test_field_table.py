"""The page of the engine's API shows what becomes of every field."""

from pathlib import Path

from roost_inference.http.connections import ConnectionLimits
from roost_inference.wire.completion_call import CHOICES_MAX
from roost_inference.wire.field_table import field_table
from roost_inference.wire.fields import WARNINGS_MAX

PAGE = (Path(__file__).parents[3] / "docs" / "engine-api.md").read_text()


def test_the_page_has_the_tables_of_the_code() -> None:
    assert PAGE.endswith(field_table())


def test_the_bounds_that_the_page_names_are_those_of_the_code() -> None:
    limits = ConnectionLimits()
    assert f"a head after {limits.head_s:.0f} seconds, a body {limits.body_s:.0f} seconds" in PAGE
    assert f"At most {WARNINGS_MAX} are told" in PAGE
    assert f"at most {CHOICES_MAX} choices" in PAGE
