"""Word's fields and formulas as runs of text, since the converter passes both over."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Final
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

WORD: Final = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_MATH: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_SPACE: Final = "{http://www.w3.org/XML/1998/namespace}space"
_TEXTS: Final = (".xml", ".rels")
_REPLACED: Final = (b"fldSimple", b"oMath")
_FIELDS: Final = frozenset({f"{WORD}fldSimple", f"{_MATH}oMathPara"})
_FORMULA: Final = f"{_MATH}oMath"
# What joins the parts of a formula; other ones follow each other.
_BETWEEN: Final[Mapping[str, str]] = {"eqArr": "; ", "mr": ", ", "func": " "}


def with_plain_parts(data: bytes) -> bytes:
    """The .docx file with the words of its fields and formulas; itself where it has none."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        texts = [one.filename for one in archive.infolist() if one.filename.endswith(_TEXTS)]
        parts = {name: archive.read(name) for name in texts}  # pictures are not read anyway
    changed = {
        name: _plain(content)
        for name, content in parts.items()
        if any(word in content for word in _REPLACED)
    }
    if not changed:
        return data
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in {**parts, **changed}.items():
            archive.writestr(name, content)
    return out.getvalue()


def _plain(content: bytes) -> bytes:
    root = ElementTree.fromstring(content)
    for parent in reversed(list(root.iter())):  # what lies within another one goes first
        if any(child.tag in _FIELDS or child.tag == _FORMULA for child in parent):
            parent[:] = [plain for child in parent for plain in _replacement(child)]
    plain: bytes = ElementTree.tostring(root, "utf-8", xml_declaration=True)
    return plain


def _replacement(child: Element) -> Sequence[Element]:
    if child.tag in _FIELDS:
        return list(child)
    if child.tag != _FORMULA:
        return [child]
    run = Element(f"{WORD}r")
    text = ElementTree.SubElement(run, f"{WORD}t", {_SPACE: "preserve"})
    text.text = _formula(child)
    return [run]


def _formula(node: Element) -> str:
    """A formula on one line: `(a+b)/2`, `x^2`, `√(y)`."""
    kind = node.tag.removeprefix(_MATH)
    if kind == "t":
        return node.text or ""
    named = [
        (child.tag.removeprefix(_MATH), _formula(child))
        for child in node
        if not child.tag.endswith("Pr")
    ]
    parts, by_name = [words for _, words in named], dict(named)
    base = by_name.get("e", "")
    beside = _beside("_", by_name, "sub", "lim") + _beside("^", by_name, "sup")
    match kind:
        case "f":
            return f"{_grouped(by_name.get('num', ''))}/{_grouped(by_name.get('den', ''))}"
        case "rad":
            return f"{by_name.get('deg', '')}√({base})"
        case "nary":
            return f"{_sign(node, 'chr', '∫')}{beside} {base}"
        case "d":
            inner = _sign(node, "sepChr", "|").join(parts)
            return f"{_sign(node, 'begChr', '(')}{inner}{_sign(node, 'endChr', ')')}"
        case "sSup" | "sSub" | "sSubSup" | "limLow" | "limUpp":
            return _grouped(base) + beside
        case "m":
            return f"[{'; '.join(parts)}]"
    return _BETWEEN.get(kind, "").join(parts)


def _beside(mark: str, by_name: Mapping[str, str], *names: str) -> str:
    words = "".join(by_name.get(name, "") for name in names)
    return f"{mark}{_grouped(words)}" if words else ""


def _grouped(words: str) -> str:
    """Words in brackets, unless they are one name or number."""
    return words if words.isalnum() else f"({words})"


def _sign(node: Element, name: str, usual: str) -> str:
    """A character that the properties of a part name."""
    for properties in node:
        found = properties.find(f"{_MATH}{name}") if properties.tag.endswith("Pr") else None
        if found is not None:
            return found.get(f"{_MATH}val", "")
    return usual
