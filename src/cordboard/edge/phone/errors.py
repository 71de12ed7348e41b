"""Errors of telephone calls."""

from cordboard.contract.errors import CordboardError


class SignatureError(CordboardError):
    """The signature, or the password, of a carrier's request is missing or wrong."""

    status = 403
    code = "bad_signature"
    title = "Signature missing or wrong"


class CarrierRefusedError(CordboardError):
    """A carrier's API refused to place a call."""

    status = 422
    code = "carrier_refused"
    title = "Refused by the carrier"


class CarrierUnavailableError(CordboardError):
    """A carrier's API cannot be reached, or does not answer in time."""

    status = 503
    retryable = True
    code = "carrier_unavailable"
    title = "Carrier unavailable"
