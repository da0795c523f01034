"""What a client says of a session: the body of a request to /v1/sessions/{id}."""

from pydantic import Field

from roost_inference.wire.message import WireModel


class SessionHint(WireModel):
    """What the session waits for, how long that may take in seconds, and the session's salt."""

    reason: str = "tool"
    ttl_s: float = Field(default=300.0, gt=0, le=7 * 86_400)
    cache_salt: str | None = Field(default=None, max_length=1024)
