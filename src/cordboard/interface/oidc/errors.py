"""The ends of a sign-in that fails. Their texts are for the person; the log has the reason."""

from cordboard.contract.errors import CordboardError


class ProviderUnavailableError(CordboardError):
    """The identity provider does not answer, or not in time."""

    status = 503
    retryable = True
    code = "identity_provider_unavailable"
    title = "Identity provider unavailable"
    traced = False

    def __init__(self, reason: str) -> None:
        super().__init__(
            "The sign-in service does not answer.",
            hint="Try again in a moment.",
            retry_after_s=10,
        )
        self.reason = reason


class ProviderInvalidError(CordboardError):
    """An answer of the identity provider is invalid: it is not trusted."""

    status = 502
    code = "identity_provider_invalid"
    title = "Invalid answer of the identity provider"
    traced = False

    def __init__(self, reason: str) -> None:
        super().__init__(
            "The sign-in failed: the answer of the sign-in service is not valid.",
            hint="Sign in again. If it happens again, tell the operator of this service.",
        )
        self.reason = reason


class ClockSkewError(ProviderInvalidError):
    """By the clock of this server, an ID token is not valid yet, or no longer."""

    code = "identity_provider_clock"
    title = "The clocks of this server and of the identity provider differ"


class SignInExpiredError(CordboardError):
    """A sign-in was not begun in this browser, was used already, or began too long ago."""

    status = 400
    code = "sign_in_expired"
    title = "Sign-in expired"

    def __init__(self, reason: str) -> None:
        super().__init__(
            "This sign-in cannot be completed: it is too old, was used before, or began in another browser.",
            hint="Go to the home page and sign in again.",
        )
        self.reason = reason


class SignInRefusedError(CordboardError):
    """The identity provider or the settings do not let this person in."""

    status = 403
    code = "sign_in_refused"
    title = "Sign-in refused"

    def __init__(
        self, reason: str, message: str = "Your account may not use this service."
    ) -> None:
        super().__init__(message, hint="Ask the operator of this service for access.")
        self.reason = reason
