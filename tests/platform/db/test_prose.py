"""Code decides by codes: nothing compares or takes apart the words that are kept for operators."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
PACKAGES = ("platform/roost_platform", "channels/roost_channels", "workflows")
# Attributes that hold words: columns, and fields of what is read from them.
WORDS = frozenset({"reason", "note", "decided_by", "stop_requested_by"})
TAKING_APART = frozenset(
    [
        "startswith",
        "endswith",
        "removeprefix",
        "removesuffix",
        "split",
        "rsplit",
        "partition",
        "rpartition",
        "find",
        "index",
        "like",
        "ilike",
        "contains",
        "regexp_match",
        "in_",
        "match",
        "search",
        "fullmatch",
    ]
)


def is_words(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in WORDS


def decisions(tree: ast.AST) -> Iterator[int]:
    """The lines that compare words with something, or take them apart."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            if any(is_words(side) for side in (node.left, *node.comparators)):
                yield node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called = node.func.attr in TAKING_APART
            if called and any(is_words(part) for part in (node.func.value, *node.args)):
                yield node.lineno


def test_no_code_decides_by_words_meant_for_people() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for line in decisions(ast.parse(path.read_text()))
    ]
    assert found == []


def test_the_check_sees_what_it_is_there_for() -> None:
    for source in (
        'query.where(models.Inbox.reason == "not addressed")',
        'if message.note.startswith("stopped"): pass',
        'row.reason.removeprefix("unreadable: ")',
        'if "policy" in identity.decided_by: pass',
        "re.match(PATTERN, row.note)",
    ):
        assert list(decisions(ast.parse(source))) == [1]
    assert not list(decisions(ast.parse('row.reason_code == "x"; f(row.reason); row.note or ""')))
