"""What can go wrong in the platform.

PlatformError
├── ConfigError      not retryable: a setting is wrong or unknown; names the key and where it stands
├── AlreadyRunning   not retryable: another `roost up` holds this data folder
├── PortInUse        not retryable: something else listens there
├── ProcessFailed    not retryable: a supervised part crashed again and again, or can't run at all
├── NotReachable     retryable: a part that this one needs does not answer
├── StackNotFound    retryable: no running stack to talk to
├── ApiRefused       not retryable: the API of a running stack answered with an error
├── SchemaMismatch   not retryable: the tables are of a version that this one can't use; says which
├── NotMade          not retryable: `roost new` can't write this; says why
├── BackupRefused    not retryable: a backup can't be made or restored as asked; says why
├── RequestError     what was asked for can't be done; has an HTTP status
│   ├── NotSignedIn   401, retryable after signing in
│   ├── Forbidden     403, not retryable: the role does not suffice
│   ├── Refused       422, not retryable: what was sent makes no sense; the message says why
│   ├── TooManyTries  429, retryable after `retry_after_s`
│   └── Busy          503, retryable: a named bound is reached
└── StorageError     what is asked does not fit what is stored
    ├── NotFound     not retryable: no such row, file or page (404)
    ├── TurnOver     not retryable: the turn ended meanwhile; its late writer is fenced off
    ├── PartClaimed  retryable: another courier is sending this part
    └── NotAllowed   not retryable: the state forbids it, such as a redrive of what was sent
        └── PartOver  not retryable: the part, or its message, is finished
"""

from collections.abc import Sequence

from roost_channels import outbox
from roost_workflows import errors

# Exit code of a part that no restart will help: a wrong setting, no such model (sysexits.h).
EXIT_CONFIG = 78


class PlatformError(Exception):
    """The platform could not do what was asked."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (self.__doc__ or "").strip())


class ConfigError(PlatformError):
    """A setting is wrong."""


class AlreadyRunning(PlatformError):
    """Another `roost up` holds this data folder."""


class PortInUse(PlatformError):
    """Something else listens on this port."""


class ProcessFailed(PlatformError):
    """A part can't be kept running; `log_tail` are its last lines."""

    def __init__(
        self, part: str, code: int, log_tail: Sequence[str] = (), *, too_often: bool = False
    ) -> None:
        super().__init__(
            f"{part} ended with code {code} too often; giving up."
            if too_often
            else f"{part} can't run (code {code})."
        )
        self.part = part
        self.code = code
        self.log_tail = tuple(log_tail)


class NotReachable(PlatformError):
    """A part that this one needs does not answer."""


class StackNotFound(PlatformError):
    """There is no running stack to talk to."""


class SchemaMismatch(PlatformError):
    """The database's tables are of another version."""


class NotMade(PlatformError):
    """The starting point can't be written."""


class BackupRefused(PlatformError):
    """The backup can't be made or restored."""


class RequestError(PlatformError):
    """What was asked for can't be done. `status` is its HTTP status, `title` heads its page."""

    status = 500
    title = "Something went wrong"


class NotSignedIn(RequestError):
    """This page needs you to sign in."""

    status = 401
    title = "Sign in first"


class Forbidden(RequestError):
    """Your role does not allow this."""

    status = 403
    title = "Not allowed"


class Refused(RequestError):
    """The request can't be carried out as it stands."""

    status = 422
    title = "That did not work"


class TooManyTries(RequestError):
    """There were too many failed tries; wait."""

    status = 429
    title = "Too many tries"

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Busy(RequestError):
    """A bound is reached; try again."""

    status = 503
    title = "Busy"


class StorageError(PlatformError):
    """What is asked does not fit what is stored."""


class NotFound(StorageError, LookupError):
    """There is nothing here."""


class TurnOver(StorageError, errors.TurnOver):
    """The turn is over."""


class PartClaimed(StorageError):
    """Another courier is sending this part."""


class NotAllowed(StorageError):
    """The state of this row forbids it."""


class PartOver(NotAllowed, outbox.PartOver):
    """The part is not to be sent any more."""


class ApiRefused(PlatformError):
    """The API said no."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{detail or 'refused'} (HTTP {status})")
        self.status = status
