"""Headers with which the fakes serve files: nothing that a person sent runs in the browser."""

import re

_SHOWN = re.compile(
    r"image/(png|jpeg|gif|webp)|(audio|video)/[a-z0-9.-]+|application/pdf|text/plain"
)


def download_headers(content_type: str) -> dict[str, str]:
    """The headers of a file whose type its sender chose."""
    essence = content_type.partition(";")[0].strip().lower()
    return {
        "Content-Type": essence if _SHOWN.fullmatch(essence) else "application/octet-stream",
        "Content-Disposition": "attachment",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
