"""Static files under a URL with a hash of their content, so that browsers keep them for ever."""

import hashlib
import mimetypes
import re
from functools import cache
from pathlib import Path

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from roost_platform.errors import NotFound

STATIC = Path(__file__).parent / "static"
ICONS = STATIC / "vendor" / "lucide"
KEEP_FOR_EVER = "public, max-age=31536000, immutable"
TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".woff2": "font/woff2",
    ".svg": "image/svg+xml",
}


@cache
def files() -> dict[str, Path]:
    """Every file that may be served, by its path in the URL."""
    return {
        path.relative_to(STATIC).as_posix(): path
        for path in sorted(STATIC.rglob("*"))
        if path.is_file() and path.suffix in TYPES
    }


@cache
def digest() -> str:
    """One hash of all files together, so that relative URLs in style sheets work."""
    total = hashlib.sha256()
    for name, path in files().items():
        total.update(name.encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:16]


def static_url(name: str) -> str:
    """The address of a static file; a name that does not exist is an error in the template."""
    if name not in files():
        raise KeyError(f"no static file {name}")
    return f"/static/{digest()}/{name}"


async def static_file(request: Request) -> Response:
    """Serve one file. The hash of an older page gets today's file, which browsers do not keep."""
    path = files().get(request.path_params["path"])
    if path is None:
        raise NotFound("There is no such file.")
    current = request.path_params["digest"] == digest()
    media_type = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
    return FileResponse(
        path,
        media_type=media_type,
        headers={"cache-control": KEEP_FOR_EVER if current else "no-store"},
    )


@cache
def icon(name: str, label: str = "") -> Markup:
    """A Lucide icon as inline SVG; decorative unless it has a label."""
    source = (ICONS / f"{name}.svg").read_text()
    body = re.sub(r"\s*\n\s*", " ", source[source.index("<svg") :])
    inner = body[body.index(">") + 1 : body.rindex("</svg>")].strip()
    name_or_hidden = (
        Markup('role="img" aria-label="{}"').format(label)
        if label
        else Markup('aria-hidden="true"')
    )
    return Markup(
        '<svg class="icon" {} width="16" height="16" viewBox="0 0 24 24" fill="none"'
        ' stroke="currentColor" stroke-width="2" stroke-linecap="round"'
        ' stroke-linejoin="round">{}</svg>'
    ).format(name_or_hidden, Markup(inner))
