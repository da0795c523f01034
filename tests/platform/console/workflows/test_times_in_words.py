"""Times in sentences: the page's script turns them into `3 min ago` and `in 3 min`."""

import re
from pathlib import Path

import pytest

from roost_platform.console import console

TEMPLATES = sorted((Path(console.__file__).parent / "templates").rglob("*.html"))
# "since 3 min ago" and "until in 3 min" are no English.
WRONG = re.compile(r"\b(?:since|for|until|by|at|after|before) \{\{[^}]*\| (?:when|due)\b", re.I)
# What comes before a time in a ternary, such as `{{ "until" if … else "ends" }} {{ at | due }}`.
WRONG_WORD = re.compile(r"[\"'](?:since|until)[\"'][^}]*\}\} \{\{[^}]*\| (?:when|due)\b", re.I)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: "/".join(path.parts[-2:]))
def test_no_sentence_says_since_before_an_ago(template: Path) -> None:
    text = template.read_text()
    assert not WRONG.search(text) and not WRONG_WORD.search(text)


def test_the_patterns_find_what_they_look_for() -> None:
    assert WRONG.search("Asked since {{ one.at | when }}")
    assert WRONG_WORD.search('{{ "until" if a else "ends" }} {{ one.until | due }}')
    assert not WRONG.search("asked {{ one.at | when }} · ends {{ one.until | due }}")
