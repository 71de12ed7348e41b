"""The classes of errors: how each one appears over HTTP, in a shell and to a program that retries.

Each class has an HTTP status, an exit status, a code for programs, and whether a retry can succeed.
Each instance has a message, and a hint how to fix the problem if there is one. docs/contract/http.md
lists all codes.
"""

from typing import ClassVar, Final

GATEWAY_AUTH_HINT: Final = (
    "Set BOT_CONTROL_SHARED_SECRET, or ..._FILE, to the secret of that gateway."
)
"""The hint for users of commands that a gateway refuses. The gateway's own hint is about headers."""


class CordboardError(Exception):
    """Base class of every error that a user can cause or fix.

    Args:
        message: What is wrong and where, in one sentence.
        hint: How to fix it, in one sentence; empty if unknown.
        extra: Further members of the body of an ``application/problem+json`` response.
        retry_after_s: Seconds after which a retry may succeed (``Retry-After``).

    Attributes:
        status: The HTTP status.
        exit_code: The exit status of a command: 2 for invalid input, else 1.
        retryable: Whether the same request may succeed later.
        code: The identifier of the class for programs.
        title: The title in a problem's body.
        traced: Whether a log line of the error contains its stack. An error that many requests meet at
            the same time, and whose message says everything, has none.
    """

    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"
    traced: ClassVar[bool] = True

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        extra: dict[str, object] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.extra = extra or {}
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class UsageError(CordboardError):
    """An argument of a command is invalid. Nothing was read or written."""

    status = 400
    exit_code = 2
    code = "usage"
    title = "Invalid arguments"


class SettingsError(UsageError):
    """A setting is unknown or has an invalid value."""

    code = "settings"
    title = "Invalid setting"


class InvalidValueError(CordboardError):
    """A value of a request does not match its grammar."""

    status = 422
    exit_code = 2
    code = "invalid"
    title = "Invalid value"


class UnauthorizedError(CordboardError):
    """The control secret is missing or wrong."""

    status = 401
    code = "unauthorized"
    title = "Not authenticated"


class NotFoundError(CordboardError):
    """The session or resource does not exist."""

    status = 404
    code = "not_found"
    title = "Not found"


class ConflictError(CordboardError):
    """The request is well-formed, but conflicts with the current state."""

    status = 409
    code = "conflict"
    title = "Conflict"


class SessionInUseError(ConflictError):
    """A session with this id is live in another room."""

    code = "session_in_use"
    title = "Session id is live in another room"


class SessionUsedError(ConflictError):
    """A session with this id belonged to another user, and its record has not expired."""

    code = "session_id_used"
    title = "Session id belonged to another user"


class NotHolderError(ConflictError):
    """Another session holds the room."""

    code = "not_holder"
    title = "Another session holds the room"


class StaleEpochError(ConflictError):
    """The epoch is lower than the room's: the room was granted again."""

    code = "stale_epoch"
    title = "Stale epoch"


class BusyError(ConflictError):
    """The runner has no free slot."""

    retryable = True
    code = "busy"
    title = "No free capacity"


class BodyTooLargeError(CordboardError):
    """The request body exceeds the size limit."""

    status = 413
    code = "too_large"
    title = "Body too large"


class QueueFullError(CordboardError):
    """The launch queue is full (``queue_max``)."""

    status = 429
    retryable = True
    code = "queue_full"
    title = "Queue full"


class TooManySessionsError(CordboardError):
    """The caller has reached its limit of live sessions."""

    status = 429
    retryable = True
    code = "too_many_sessions"
    title = "Too many live sessions"


class StoreUnavailableError(CordboardError):
    """Redis cannot be reached, or does not answer in time."""

    status = 503
    retryable = True
    code = "store_unavailable"
    title = "Redis is unavailable"
    traced = False


class StoreForbiddenError(StoreUnavailableError):
    """Redis rejects the login, or does not permit a command that Cordboard needs."""

    code = "store_forbidden"
    title = "Redis denies permission"


class NotReadyError(CordboardError):
    """The component accepts no requests, because it is starting or draining."""

    status = 503
    retryable = True
    code = "not_ready"
    title = "Not ready"


class UpstreamError(CordboardError):
    """The runner of the session cannot be reached, or returned an invalid response."""

    status = 502
    retryable = True
    code = "runner_unreachable"
    title = "Runner unreachable"


class UpstreamTimeoutError(UpstreamError):
    """The runner of the session did not answer in time."""

    status = 504
    code = "runner_timeout"
    title = "Runner timed out"


class GatewayError(CordboardError):
    """The gateway cannot be reached, or returned an invalid response."""

    status = 502
    retryable = True
    code = "gateway_unreachable"
    title = "Gateway unreachable"


class WrongCellError(CordboardError):
    """The room belongs to another cell."""

    status = 421
    code = "wrong_cell"
    title = "Room belongs to another cell"


class BotFileError(CordboardError):
    """The bot file cannot be loaded."""

    code = "bot_file"
    title = "Bot file cannot be loaded"


class LaunchError(CordboardError):
    """A cold runner cannot be started."""

    code = "launch_failed"
    title = "Launch failed"


class ClusterError(CordboardError):
    """The Kubernetes API refused a request, or cannot be used."""

    code = "cluster"
    title = "Kubernetes refused the request"


class ClusterUnavailableError(ClusterError):
    """The Kubernetes API cannot be reached, or is temporarily unavailable."""

    status = 503
    retryable = True
    code = "cluster_unavailable"
    title = "Kubernetes is unavailable"


class ClusterForbiddenError(ClusterError):
    """The Kubernetes API rejects this user, or the user lacks a permission."""

    code = "cluster_forbidden"
    title = "Kubernetes denies permission"


class ClusterExpiredError(ClusterError):
    """The resource version of a watch has expired. List the resources again."""

    code = "cluster_expired"
    title = "Resource version expired"


class UnknownVersionError(InvalidValueError):
    """A message has a version that this release cannot read."""

    code = "unknown_version"
    title = "Unknown message version"
