"""No decision of the code reads words that are written for people.

A reworded error, note or notice must never change what the program does, so what decides stands in
a column or a field of its own, beside the words.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("platform/roost_platform", "channels/roost_channels", "workflows")
# Simulated providers and doubles imitate texts of others: what they compare is not ours.
OUTSIDE = ("testing", "chaos")
# Columns and fields of the database's rows that hold words for people.
PROSE = frozenset(
    {
        "answered",
        "asked",
        "concluded",
        "description",
        "detail",
        "error",
        "evidence",
        "note",
        "reason",
    }
)
READERS = frozenset(
    {
        "contains",
        "count",
        "endswith",
        "find",
        "ilike",
        "in_",
        "index",
        "is_",
        "like",
        "match",
        "not_in",
        "partition",
        "regexp_match",
        "removeprefix",
        "removesuffix",
        "rfind",
        "rpartition",
        "split",
        "splitlines",
        "startswith",
    }
)
PATTERNS = frozenset({"match", "search", "fullmatch", "findall", "finditer", "split"})


def sources() -> Iterator[Path]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not set(OUTSIDE) & set(path.relative_to(ROOT).parts):
                yield path


def is_prose(node: ast.AST) -> bool:
    """Whether an expression is such a field: `row.note`, or `line["note"]`."""
    if isinstance(node, ast.Attribute):
        return node.attr in PROSE
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return node.slice.value in PROSE
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "str":
        return any(is_prose(argument) for argument in node.args)
    return False


def decides(node: ast.AST) -> bool:
    """Whether an expression compares or parses words for people."""
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        is_none = all(isinstance(operator, ast.Is | ast.IsNot) for operator in node.ops)
        return not is_none and any(is_prose(side) for side in sides)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr in READERS and is_prose(node.func.value):
            return True
        return node.func.attr in PATTERNS and any(is_prose(argument) for argument in node.args)
    return isinstance(node, ast.Match) and is_prose(node.subject)


def decision_lines(source: str) -> list[int]:
    nodes = ast.walk(ast.parse(source))
    return sorted({node.lineno for node in nodes if decides(node)})  # type: ignore[attr-defined]


def decisions(path: Path) -> list[str]:
    lines = decision_lines(path.read_text())
    return [f"{path.relative_to(ROOT)}:{line}" for line in lines]


@pytest.mark.parametrize(
    ("source", "is_decision"),
    [
        ("row.reason == NOT_ADDRESSED", True),
        ("where(models.Inbox.reason.startswith(UNREADABLE))", True),
        ("models.Part.error.like('outcome unknown%')", True),
        ("any(line['note'].startswith(refused) for line in part.evidence)", True),
        ("'refused' in part.error", True),
        ("re.match(REFUSED, str(row.detail))", True),
        ("row.reason_code == 'not_addressed'", False),
        ("row.reason = 'the group talks to somebody else'", False),
        ("if part.error: show(part.error)", False),
        ("Inbox.reason.is_not(None)", False),
    ],
)
def test_a_comparison_of_words_is_found_and_their_display_is_not(
    source: str, is_decision: bool
) -> None:
    assert bool(decision_lines(source)) is is_decision


def test_no_decision_reads_words_for_people() -> None:
    assert [place for path in sources() for place in decisions(path)] == []
