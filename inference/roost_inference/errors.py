"""The errors of the engine, with whose fault they are and whether a retry helps.

EngineError
├── InvalidRequest        400  the caller's fault, not retryable
│   ├── PromptTooLong     400  code context_length_exceeded
│   ├── BadGrammar        400  code invalid_schema
│   ├── ContentRefused    400  code content_filter: a provider's rules about contents
│   ├── UnknownModel      404  code model_not_found
│   ├── NoSessions        404  the engine has no /v1/sessions
│   └── UnknownSession    404  no session of that id and salt
├── EngineRefused         403  another engine refuses our key, account or address; not retryable
├── BodyTooLarge          413  not retryable
├── QueueFull             429  retryable after `retry_after_s`
├── EngineUnavailable     503  retryable: starting, stopping, connection refused or lost
│   ├── EngineSilent      503  it is connected and sends nothing for too long
│   └── AnswerUnfinished  503  in client/assembly.py: an answer came without its end
└── EngineFailed          500  retryable: the kernels failed; the message says how
"""


class EngineError(Exception):
    """The engine could not complete a request.

    answered_status: the HTTP status of another engine's answer, None where there was none.
    """

    http_status = 500
    type = "server_error"
    code = "engine_error"
    retryable = False

    def __init__(self, message: str = "", *, param: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())
        self.message = str(self)
        self.param = param
        self.answered_status: int | None = None


class InvalidRequest(EngineError):
    """The request is not valid."""

    http_status = 400
    type = "invalid_request_error"
    code = "invalid_request"


class PromptTooLong(InvalidRequest):
    """The prompt does not fit the model's context.

    prompt_tokens, limit_tokens: what the engine says of both; None where it does not.
    """

    code = "context_length_exceeded"

    def __init__(self, message: str = "", *, param: str | None = None) -> None:
        super().__init__(message, param=param)
        self.prompt_tokens: int | None = None
        self.limit_tokens: int | None = None


class ContentRefused(InvalidRequest):
    """The engine's provider refuses what the conversation contains."""

    code = "content_filter"


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


class EngineRefused(EngineError):
    """The engine refuses this installation: its key, its account or its address."""

    http_status = 403
    type = "permission_error"
    code = "engine_refused"


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
    """The engine can't be reached or is not ready.

    retry_after_s: when it wants to be asked again; None where it does not say.
    """

    http_status = 503
    code = "engine_unavailable"
    retryable = True
    retry_after_s: float | None = None


class EngineSilent(EngineUnavailable):
    """The engine has gone silent."""


class EngineFailed(EngineError):
    """The engine failed while computing."""

    code = "engine_failed"
    retryable = True
