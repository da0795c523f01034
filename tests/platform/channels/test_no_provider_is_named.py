"""Layers above the adapters loop over kinds: none of them names a network or a provider."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
PROVIDERS = re.compile(r"telegram|whatsapp|twilio|\bmeta\b|graph\.facebook", re.IGNORECASE)
CHANNELS = ROOT / "channels" / "roost_channels"
PLATFORM = ROOT / "platform" / "roost_platform"
# Adapters, their fakes and the one list of them; rigs that drive a certain fake; sample data.
EXCEPT = (
    *(CHANNELS / name for name in ("telegram", "whatsapp", "whatsapp_cloud", "testing")),
    CHANNELS / "registry.py",
    *(
        PLATFORM / name
        for name in (
            "chaos",
            "testing",
            "db/testing.py",
            "db/contract_testing.py",
            "console/testing",
        )
    ),
    PLATFORM / "console" / "pages" / "patterns.py",
    PLATFORM / "console" / "templates" / "patterns",
    PLATFORM / "console" / "static" / "vendor",
    # The head of docs/settings.md, which shows how a file is written.
    PLATFORM / "settings" / "markdown.py",
)


def files(*suffixes: str) -> Iterator[Path]:
    for package in (CHANNELS, PLATFORM):
        for file in sorted(package.rglob("*")):
            skipped = any(file == one or one in file.parents for one in EXCEPT)
            if file.suffix in suffixes and not skipped:
                yield file


def words_of(tree: ast.AST) -> Iterator[str]:
    """Names, and strings that are no docstring."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Constant) and id(node) not in docstrings:
            yield str(node.value)


def test_no_code_above_the_adapters_names_a_provider() -> None:
    found = {
        f"{file.relative_to(ROOT)}: {word[:60]}"
        for file in files(".py")
        for word in words_of(ast.parse(file.read_text(encoding="utf-8")))
        if PROVIDERS.search(word)
    }
    assert found == set()


def test_no_page_script_or_style_names_a_provider() -> None:
    found = {
        f"{file.relative_to(ROOT)}: {match.group()}"
        for file in files(".html", ".js", ".css")
        for match in re.finditer(r"telegram|whatsapp|twilio", file.read_text(), re.IGNORECASE)
    }
    assert found == set()
