"""What can go wrong in the console, each with its HTTP status.

ConsoleError
├── NotSignedIn     401, retryable after signing in
├── Forbidden       403, not retryable: the role does not suffice
├── NotFound        404, not retryable
├── Refused         422, not retryable: what was sent makes no sense; the message says why
├── TooManyTries    429, retryable after `retry_after_s`
└── Busy            503, retryable: a named bound was reached
"""


class ConsoleError(Exception):
    """Base of everything the console tells a browser about."""

    status = 500
    title = "Something went wrong"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NotSignedIn(ConsoleError):
    """Sign in first."""

    status = 401
    title = "Sign in first"

    def __init__(self, message: str = "This page needs you to sign in.") -> None:
        super().__init__(message)


class Forbidden(ConsoleError):
    """Your role does not allow this."""

    status = 403
    title = "Not allowed"


class NotFound(ConsoleError):
    """There is nothing here."""

    status = 404
    title = "Nothing here"


class Refused(ConsoleError):
    """The request can't be carried out as it stands."""

    status = 422
    title = "That did not work"


class TooManyTries(ConsoleError):
    """Too many failed tries; wait."""

    status = 429
    title = "Too many tries"

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Busy(ConsoleError):
    """A bound was reached; try again."""

    status = 503
    title = "Busy"
