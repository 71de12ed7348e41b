"""The error tree: one place says how an error looks over HTTP, in a shell and to a retry loop.

Each class carries its HTTP status, its exit code and whether trying again can help; each instance
says what is wrong, and, where there is one, the way out.
"""

from typing import ClassVar, Final

GATEWAY_AUTH_HINT: Final = (
    "Set BOT_CONTROL_SHARED_SECRET, or ..._FILE, to the secret of that gateway."
)
"""What a command says to its user when a gateway refuses it; HTTP's own hint names headers."""


class CordboardError(Exception):
    """Base of every error that a user of Cordboard may meet.

    Args:
        message: What is wrong and where, one sentence.
        hint: The way out, one sentence; empty when there is none.
        extra: Values a program may want beside the words (members of problem+json).
        retry_after_s: Seconds after which trying again makes sense.
    """

    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"
    traced: ClassVar[bool] = True
    """Whether a log line of it has its stack: not where the words say all, and many meet the same."""

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
    """The words of a command are off; nothing was read or written."""

    status = 400
    exit_code = 2
    code = "usage"
    title = "Bad usage"


class SettingsError(UsageError):
    """A setting is unknown or has a value that cannot be used."""

    code = "settings"
    title = "Bad setting"


class InvalidValueError(CordboardError):
    """A value from outside does not fit its grammar."""

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
    """There is no such thing."""

    status = 404
    code = "not_found"
    title = "Not found"


class ConflictError(CordboardError):
    """The request is well-formed, but not possible in the present state."""

    status = 409
    code = "conflict"
    title = "Conflict"


class SessionInUseError(ConflictError):
    """The session id is live in another room."""

    code = "session_in_use"
    title = "Session id is live in another room"


class SessionUsedError(ConflictError):
    """The session id belonged to another user, and its record is still kept."""

    code = "session_id_used"
    title = "Session id belonged to another user"


class NotHolderError(ConflictError):
    """Another session holds the room."""

    code = "not_holder"
    title = "Another session holds the room"


class StaleEpochError(ConflictError):
    """A lower epoch than the room's: whoever asks has been replaced."""

    code = "stale_epoch"
    title = "Stale epoch"


class BusyError(ConflictError):
    """No free capacity."""

    retryable = True
    code = "busy"
    title = "No free capacity"


class BodyTooLargeError(CordboardError):
    """The request body is over its limit."""

    status = 413
    code = "too_large"
    title = "Body too large"


class QueueFullError(CordboardError):
    """The launch queue is at its bound."""

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
    """Redis does not answer."""

    status = 503
    retryable = True
    code = "store_unavailable"
    title = "Redis is away"
    traced = False


class StoreForbiddenError(StoreUnavailableError):
    """Redis refuses the login, or does not permit a command that Cordboard needs."""

    code = "store_forbidden"
    title = "Redis does not permit it"


class NotReadyError(CordboardError):
    """The part does not take work now: it starts, or it drains."""

    status = 503
    retryable = True
    code = "not_ready"
    title = "Not ready"


class UpstreamError(CordboardError):
    """The runner that holds the session did not answer as it should."""

    status = 502
    retryable = True
    code = "runner_unreachable"
    title = "Runner unreachable"


class UpstreamTimeoutError(UpstreamError):
    """The runner that holds the session did not answer in time."""

    status = 504
    code = "runner_timeout"
    title = "Runner timed out"


class GatewayError(CordboardError):
    """The gateway did not answer as it should."""

    status = 502
    retryable = True
    code = "gateway_unreachable"
    title = "Gateway unreachable"


class BotFileError(CordboardError):
    """The bot file cannot be loaded."""

    code = "bot_file"
    title = "Bot file cannot be loaded"


class LaunchError(CordboardError):
    """A cold runner cannot be started."""

    code = "launch_failed"
    title = "Launch failed"


class ClusterError(CordboardError):
    """The Kubernetes API refused a request, or cannot be asked."""

    code = "cluster"
    title = "Kubernetes refused"


class ClusterUnavailableError(ClusterError):
    """The Kubernetes API does not answer, or says that it cannot now."""

    status = 503
    retryable = True
    code = "cluster_unavailable"
    title = "Kubernetes does not answer"


class ClusterForbiddenError(ClusterError):
    """The Kubernetes API does not know this user, or grants too little."""

    code = "cluster_forbidden"
    title = "Not permitted by Kubernetes"


class ClusterExpiredError(ClusterError):
    """The version from which to go on is no longer kept: list anew."""

    code = "cluster_expired"
    title = "Kubernetes has forgotten that version"


class UnknownVersionError(InvalidValueError):
    """A message of a version that this release does not read."""

    code = "unknown_version"
    title = "Unknown message version"
