"""The errors of the engine, with whose fault they are and whether a retry helps.

EngineError
├── InvalidRequest        400  the caller's fault, not retryable
│   ├── PromptTooLong     400  code context_length_exceeded
│   ├── BadGrammar        400  code invalid_schema
│   ├── UnknownModel      404  code model_not_found
│   ├── NoSessions        404  the engine has no /v1/sessions
│   └── UnknownSession    404  no session of that id and salt
├── BodyTooLarge          413  not retryable
├── QueueFull             429  retryable after `retry_after_s`
├── EngineUnavailable     503  retryable: starting, stopping, connection refused or lost
└── EngineFailed          500  retryable: the kernels failed; the message says how
"""


class EngineError(Exception):
    """The engine could not complete a request."""

    http_status = 500
    type = "server_error"
    code = "engine_error"
    retryable = False

    def __init__(self, message: str = "", *, param: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())
        self.message = str(self)
        self.param = param


class InvalidRequest(EngineError):
    """The request is not valid."""

    http_status = 400
    type = "invalid_request_error"
    code = "invalid_request"


class PromptTooLong(InvalidRequest):
    """The prompt does not fit the model's context."""

    code = "context_length_exceeded"


class BadGrammar(InvalidRequest):
    """A schema or grammar can't be compiled."""

    code = "invalid_schema"


class UnknownModel(InvalidRequest):
    """No such model is loaded."""

    http_status = 404
    code = "model_not_found"


class NoSessions(InvalidRequest):
    """The engine has no /v1/sessions."""

    http_status = 404
    code = "no_sessions"


class UnknownSession(InvalidRequest):
    """The engine knows no session of that id with that cache_salt."""

    http_status = 404
    code = "session_not_found"


class BodyTooLarge(InvalidRequest):
    """The request body is larger than allowed."""

    http_status = 413
    code = "body_too_large"


class QueueFull(EngineError):
    """Too many requests wait already."""

    http_status = 429
    type = "rate_limit_error"
    code = "queue_full"
    retryable = True

    def __init__(self, message: str = "", *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EngineUnavailable(EngineError):
    """The engine can't be reached or is not ready."""

    http_status = 503
    code = "engine_unavailable"
    retryable = True


class EngineFailed(EngineError):
    """The engine failed while computing."""

    code = "engine_failed"
    retryable = True
