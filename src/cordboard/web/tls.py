"""TLS: the certificate of a server, and the authorities that its callers trust."""

import ssl
from dataclasses import dataclass

from cordboard.contract.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Certificate:
    """The files of a server's certificate.

    Attributes:
        cert: The certificate with its chain, in PEM.
        key: The private key; None if ``cert`` contains it.
    """

    cert: str
    key: str | None


def load_certificate(cert: str | None, key: str | None) -> Certificate | None:
    """Return a certificate after checking that a server can use it; None if there is none.

    Args:
        cert: The file of the certificate with its chain, in PEM.
        key: The file of the private key; None if `cert` contains it.

    Raises:
        SettingsError: The files cannot be read, or the key does not match the certificate.
    """
    if not cert:
        return None
    try:
        # An empty password makes a key with a passphrase an error; without it OpenSSL would prompt.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except OSError as error:  # ssl.SSLError is a subclass
        raise SettingsError(
            f"Cannot use the TLS certificate {cert} with the key {key or cert}: {_reason(error)}.",
            hint="Use a certificate and its key, in PEM and without a passphrase.",
        ) from error
    return Certificate(cert, key)


def client_context(ca: str | None, setting: str = "CORDBOARD_TLS_CA") -> ssl.SSLContext:
    """Return the TLS context with which a client verifies servers.

    Args:
        ca: A PEM file with the only authorities to trust; None for the authorities of the system.
        setting: The variable of the setting with that file, for the message.

    Raises:
        SettingsError: The file cannot be read or contains no authority.
    """
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise SettingsError(
            f"{setting}: cannot use {ca}: {_reason(error)}.",
            hint="Set it to a file of certificates in PEM.",
        ) from error


def _reason(error: OSError) -> str:
    # OpenSSL's reasons look like KEY_VALUES_MISMATCH.
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).lower().replace("_", " ")
    return error.strerror or str(error)
