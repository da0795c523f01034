"""Headers with which files of people and agents are served over HTTP: to save, never to run.

The maker of a file chose its name and its type. A browser that trusts them would run the file with
the rights of the origin that serves it.
"""

from urllib.parse import quote

OCTETS = "application/octet-stream"
NAME_MAX = 120
# What WhatsApp takes, and what no browser runs. Everything else is served as OCTETS.
_OFFICE = "application/vnd.openxmlformats-officedocument."
SAFE_TYPES = frozenset(
    {
        "image/gif",
        "image/jpeg",
        "image/png",
        "image/webp",
        "audio/aac",
        "audio/amr",
        "audio/mp4",
        "audio/mpeg",
        "audio/ogg",
        "audio/wav",
        "video/3gpp",
        "video/mp4",
        "application/msword",
        "application/pdf",
        "application/vnd.ms-excel",
        "application/vnd.ms-powerpoint",
        f"{_OFFICE}presentationml.presentation",
        f"{_OFFICE}spreadsheetml.sheet",
        f"{_OFFICE}wordprocessingml.document",
        "text/csv",
        "text/plain",
        "text/vcard",
    }
)
# A browser keeps the file as it is, and lets no page of another origin load it.
SANDBOXED = {
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def file_headers(name: str, mime_type: str) -> dict[str, str]:
    """The headers of a file's response, whatever its name and its type claim."""
    return {
        "Content-Type": safe_type(mime_type),
        "Content-Disposition": disposition(name),
        **SANDBOXED,
    }


def safe_type(mime_type: str) -> str:
    """The type without its parameters if it is one of SAFE_TYPES, else OCTETS."""
    essence = mime_type.partition(";")[0].strip().lower()
    if essence not in SAFE_TYPES:
        return OCTETS
    return f"{essence}; charset=utf-8" if essence.startswith("text/") else essence


def disposition(name: str) -> str:
    """`attachment` with the name, in ASCII and in full."""
    kept = safe_name(name) or "file"
    plain = "".join(
        char if char.isascii() and (char.isalnum() or char in " ._-") else "_" for char in kept
    )
    full = quote(kept.encode("utf-8", "replace"), safe="")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{full}"


def safe_name(name: str) -> str:
    """A name without folders, quotes or what can't be printed; empty where nothing is left."""
    kept = "".join("_" if char in '/\\"' else char for char in name if char.isprintable())
    return kept.strip(" .")[:NAME_MAX]
