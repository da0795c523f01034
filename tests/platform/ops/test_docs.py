"""What the documents say is true of the program."""

import re
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel
from typer.main import get_command

from roost_platform.api.app import ROUTERS
from roost_platform.cli.main import app
from roost_platform.console.routes import PAGES
from roost_platform.gateway.config import ModelConfig, ProviderConfig
from roost_platform.settings.config import settings_model, walk_fields
from roost_platform.settings.markdown import render_page
from roost_platform.settings.sources import variable_of

ROOT = Path(__file__).parents[3]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
PAGES_FOR_PEOPLE = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS = ("platform", "channels", "workflows", "inference", "migrations", "tests", "docs")
MEMBERS: dict[str, type[BaseModel]] = {
    "ROOST_PROVIDERS": ProviderConfig,
    "ROOST_MODELS": ModelConfig,
}
TEMPLATES = ROOT / "platform" / "roost_platform" / "console" / "templates"
NOT_OURS = {"my_agents.py", "agents/my_agents.py"}
NOT_SETTINGS = {"ROOST_CONFIG", "ROOST_URL", "ROOST_API_TOKEN", "ROOST_TEST_PG_URL"}


def test_the_settings_page_is_made_from_the_fields() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == render_page(), "run `make docs`"


def test_the_readme_names_the_last_row_of_what_is_promised() -> None:
    promised = (ROOT / "docs" / "reliability.md").read_text()
    last = max(int(number) for number in re.findall(r"^\| R(\d+) \|", promised, re.MULTILINE))
    assert f"The numbers R1 to R{last} are rows of" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_variable_a_document_names_is_a_setting(document: Path) -> None:
    known = {variable_of(path) for path, _ in walk_fields(settings_model())} | NOT_SETTINGS
    named = set(re.findall(r"\bROOST_[A-Z0-9]+(?:_+[A-Z0-9]+)*\b", document.read_text()))
    assert {name for name in named if not is_member(name)} <= known


def is_member(name: str) -> bool:
    """Whether it is a value of a provider or a model, such as ROOST_PROVIDERS__NAME__BASE_URL."""
    parts = name.split("__")
    table = MEMBERS.get(parts[0])
    return table is not None and len(parts) == 3 and parts[2].lower() in table.model_fields


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_a_document_points_to_exists(document: Path) -> None:
    text = document.read_text()
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", text)
    paths = re.findall(rf"`((?:{'|'.join(FOLDERS)})/[^`]*)`", text)
    missing = [link for link in links if not (document.parent / link).exists()]
    missing += [path for path in paths if not any(ROOT.glob(path.rstrip("/")))]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_python_file_a_document_names_exists(document: Path) -> None:
    files = [f"/{path.relative_to(ROOT)}" for top in FOLDERS for path in (ROOT / top).rglob("*.py")]
    named = set(re.findall(r"[`\[]([a-z_0-9/]+\.py)[`\]]", document.read_text())) - NOT_OURS
    assert not {name for name in named if not any(file.endswith(f"/{name}") for file in files)}


def test_every_heading_a_document_links_to_exists() -> None:
    for document in DOCUMENTS:
        links = re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", document.read_text())
        for target, anchor in links:
            page = document.parent / target if target else document
            headings = re.findall(r"^#+ (.+)$", page.read_text().lower(), re.MULTILINE)
            anchors = {re.sub(r"[^a-z0-9 _-]", "", each).replace(" ", "-") for each in headings}
            assert anchor in anchors, f"{document.name}: {target}#{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_a_document_shows_exists(document: Path) -> None:
    root = get_command(app)
    commands = root.commands  # type: ignore[attr-defined]
    for name, rest in re.findall(
        r"(?<!from )(?<!lib/)\broost ([a-z-]+)((?: [A-Za-z0-9./_-]+| --[a-z-]+)*)", _code(document)
    ):
        assert name in commands, f"roost {name}"
        command, words = commands[name], rest.split()
        subs = getattr(command, "commands", {})
        if subs and words and not words[0].startswith("-"):
            assert words[0] in subs, f"roost {name} {words[0]}"
            command = subs[words[0]]
        known = {option for param in command.params for option in param.opts} | {"--help"}
        options = set(re.findall(r"(?<= )--[a-z-]+", f" {rest}"))
        assert options <= known, f"roost {name} {words[:1]} {options - known}"


def test_every_name_of_code_that_developers_read_stands_in_the_code() -> None:
    files = [path for top in FOLDERS for path in (ROOT / top).rglob("*.py")]
    words = {word for path in files for word in re.findall(r"\w+", path.read_text())}
    words |= {path.stem for path in files}
    for name in ("ARCHITECTURE", "docs/extending", "docs/agents", "docs/flows", "docs/schedules"):
        text = (ROOT / f"{name}.md").read_text()
        spans = re.findall(r"`([A-Za-z][A-Za-z_.]+)(?:\([^`]*\))?`", text)
        parts = {part for span in spans for part in span.split(".")}
        named = {part for part in parts if re.search("[a-z]_|[a-z][A-Z]", part)}
        assert named - words == set(), f"{name}.md"


@pytest.mark.parametrize("document", PAGES_FOR_PEOPLE, ids=lambda path: path.name)
def test_every_address_of_the_api_a_document_names_exists(document: Path) -> None:
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    named = re.findall(r"(?:\b([A-Z]+) )?(?<![a-z_/])/api((?:/[\w{}-]+)+)", _code(document))
    for method, path in named:
        if path == "/openapi":
            continue
        found = [route for route in routes if route.path_regex.match(path)]
        assert any(method in {"", *(route.methods or ())} for route in found), (
            f"{method} /api{path}"
        )


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_page_of_the_console_a_document_names_is_in_the_menu(document: Path) -> None:
    menu = {page.nav.label for page in PAGES if page.nav is not None}
    text = re.sub(r"\s+", " ", document.read_text())
    one = r"\*{1,2}([A-Z][A-Za-z &]+)\*{1,2}"
    named = re.findall(rf"\bpages? {one}(?!\w)", text)
    named += re.findall(r"\bpage ([A-Z][a-z]+)\b(?! tokens)", text)
    assert set(named) <= menu


@pytest.mark.parametrize("document", PAGES_FOR_PEOPLE, ids=lambda path: path.name)
def test_what_a_document_shows_in_bold_as_a_button_stands_on_a_page(document: Path) -> None:
    # What begins a sentence or a point of a list is no button.
    inside = re.findall(r"(?<=[a-z,:;)`] )\*\*([A-Z][^*.]{2,24}?)…?\*\*", document.read_text())
    shown = "\n".join(each.read_text() for each in TEMPLATES.rglob("*.html"))
    menu = {page.nav.label for page in PAGES if page.nav is not None}
    assert [name for name in inside if name not in menu and name not in shown] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_target_a_document_shows_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", _code(document))) <= targets


def _code(document: Path) -> str:
    """What stands in code blocks and code spans."""
    text = document.read_text()
    blocks = re.findall(r"```.*?```", text, re.DOTALL)
    spans = re.findall(r"`[^`\n]+`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return "\n".join([*blocks, *spans])
