"""Errors of the gateway itself; those of engines and providers are roost_inference.errors.

EngineError
├── Unauthorized          401  no key, or one that is not known
│   └── DeadKey           401
│       ├── KeyRevoked    401
│       └── KeyExpired    401
├── ModelNotAllowed       403  the key may not use this model
├── NotFoundHere          404  no such address, response or model
├── UnknownHost           400  a Host name that is not ours
├── EncodedBody           415  a compressed body
├── FieldNotSupported     400  no provider of this model can obey the field
├── BudgetExhausted       429  the key's money or tokens are spent or reserved
├── RateLimited           429  too many requests, tokens or parallel calls of one key
├── Overloaded            503  the gateway has as many calls as it can hold
├── ProviderRefused       502  a provider refuses the gateway's key, account or address
├── ProviderSilent        504  a provider takes longer than its time
├── ProviderFailed        502  a provider has failed
├── UnreadableAnswer      502  a provider's answer has another form than its wire
└── StreamBroken          502  a provider's answer ended in the middle
"""

from roost_inference.errors import (
    EngineError,
    EngineFailed,
    EngineRefused,
    EngineSilent,
    EngineUnavailable,
    InvalidRequest,
)


class Unauthorized(EngineError):
    """A key of this gateway is needed."""

    http_status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class DeadKey(Unauthorized):
    """A key of this gateway that is good no longer. key_id: which one, empty if not told."""

    def __init__(self, message: str = "", *, key_id: str = "") -> None:
        super().__init__(message)
        self.key_id = key_id


class KeyRevoked(DeadKey):
    """This key has been revoked."""

    code = "key_revoked"


class KeyExpired(DeadKey):
    """This key has expired."""

    code = "key_expired"


class ModelNotAllowed(EngineError):
    """The key may not use this model."""

    http_status = 403
    type = "permission_error"
    code = "model_not_allowed"


class NotFoundHere(EngineError):
    """There is nothing of that name here."""

    http_status = 404
    type = "invalid_request_error"
    code = "not_found"


class UnknownHost(InvalidRequest):
    """This host name is not configured; ROOST_WEB__ALLOWED_HOSTS lists more."""

    code = "host_not_allowed"


class EncodedBody(InvalidRequest):
    """The body is compressed, which costs more to read than it saves to send."""

    http_status = 415
    code = "unsupported_encoding"


class FieldNotSupported(InvalidRequest):
    """A field decides the answer, and this provider can't obey it; another one may."""

    code = "unsupported_parameter"


class Waiting(EngineError):
    """Another try may succeed after `retry_after_s` seconds; None: no time is known."""

    http_status = 429
    type = "rate_limit_error"
    retryable = True

    def __init__(self, message: str = "", *, retry_after_s: float | None = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class BudgetExhausted(Waiting):
    """The key's budget does not cover this call."""

    type = "insufficient_quota"
    code = "budget_exhausted"


class RateLimited(Waiting):
    """The key has too many requests, tokens or parallel calls."""

    code = "rate_limit_exceeded"


class Overloaded(Waiting):
    """The gateway has as many calls as it can hold."""

    http_status = 503
    type = "server_error"
    code = "overloaded"


class ProviderRefused(EngineRefused):
    """A provider refuses this gateway; the client's own key is well."""

    http_status = 502
    type = "server_error"
    code = "provider_refused"


class ProviderSilent(EngineSilent):
    """The provider does not answer in time."""

    http_status = 504
    code = "provider_timeout"


class ProviderFailed(EngineFailed):
    """The provider has failed."""

    http_status = 502
    code = "provider_failed"


class StreamBroken(EngineUnavailable):
    """The provider's answer ended in the middle."""

    http_status = 502
    code = "stream_broken"


class UnreadableAnswer(EngineFailed):
    """The provider's answer is not in the form of its wire."""

    http_status = 502
    code = "unreadable_answer"
