"""What was added to a page of a PDF: a form's answers, words typed on it, comments, links."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

ADDED_MAX: Final = 500  # of one page
WORDS_MAX: Final = 4000  # characters of one answer or comment
PARENTS_MAX: Final = 20  # a field's name and value may stand with those above it
_UNTOLD: Final = frozenset({"/Popup", "/Widget", "/Link"})
_SECRET, _RADIO, _PUSHED = 1 << 13, 1 << 15, 1 << 16  # flags of a field


def added_to(page: Any, text: str) -> str:
    """The additions, one a line. text: what the page itself says; links in it are not repeated."""
    listed = page.get("/Annots")
    listed = listed.get_object() if listed is not None else None
    if not isinstance(listed, Sequence):
        return ""
    lines = []
    for reference in listed[:ADDED_MAX]:
        try:
            line = _line(reference.get_object(), text)
        except (MemoryError, RecursionError):
            raise
        except Exception:  # one that can't be read leaves the others
            continue
        lines.append(line)
    return "\n".join(dict.fromkeys(filter(None, lines)))


def _line(mark: Any, text: str) -> str:
    if not isinstance(mark, Mapping):
        return ""
    kind = mark.get("/Subtype")
    if kind == "/Widget":
        return _answer(mark)
    if kind == "/Link":
        action = mark.get("/A")
        address = "" if action is None else _words(action.get_object().get("/URI"))
        return f"[link: {address}]" if address and address not in text else ""
    words = "" if kind in _UNTOLD else _words(mark.get("/Contents"))
    return words if kind == "/FreeText" or not words else f"[comment: {words}]"


def _answer(field: Any) -> str:
    """`name: answer` of a field that was filled in, `[x] name` of a box."""
    name = _words(field.get("/TU")) or ".".join(
        reversed([words for each in _line_of(field) if (words := _words(each.get("/T")))])
    )
    flags = _inherited(field, "/Ff") or 0
    value = _inherited(field, "/V")
    if _inherited(field, "/FT") != "/Btn":
        words = "" if flags & _SECRET else _words(value)
        return f"{name}: {words}".removeprefix(": ") if words else ""
    if flags & _PUSHED:
        return ""
    state = field.get("/AS", value)
    is_on = state not in (None, "/Off")
    if flags & _RADIO:
        chosen = _words(state).removeprefix("/")
        return f"{name}: {chosen}" if is_on else ""
    return f"[{'x' if is_on else ' '}] {name}".rstrip()


def _line_of(field: Any) -> Iterator[Any]:
    """The field and those above it."""
    for _ in range(PARENTS_MAX):
        yield field
        above = field.get("/Parent")
        if above is None:
            return
        field = above.get_object()


def _inherited(field: Any, name: str) -> Any:
    for each in _line_of(field):
        if (value := each.get(name)) is not None:
            return value.get_object()
    return None


def _words(value: Any) -> str:
    """A text of any of the forms that PDF has, in one line."""
    if hasattr(value, "get_object"):
        value = value.get_object()
    if hasattr(value, "get_data"):  # a long answer is a stream
        value = value.get_data()
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, list | tuple):  # several choices
        value = ", ".join(_words(each) for each in value)
    if not isinstance(value, str):
        return ""
    return " ".join(value[:WORDS_MAX].split())
