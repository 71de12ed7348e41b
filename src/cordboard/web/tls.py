"""TLS: the certificate with which a part serves, and the authorities that its callers trust."""

import ssl
from typing import NamedTuple

from cordboard.contract.errors import SettingsError


class Certificate(NamedTuple):
    """The files of a server's certificate."""

    cert: str
    key: str | None


def load_certificate(cert: str | None, key: str | None) -> Certificate | None:
    """Return a certificate that is checked to be usable; None if no file is given.

    Args:
        cert: Its file, in PEM with its chain.
        key: The file of its key; None where that is in the same file.

    Raises:
        SettingsError: The files cannot be read, or do not belong together.
    """
    if not cert:
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            f"TLS certificate {cert} with key {key or cert}: {_words(error)}.",
            hint="Use a certificate and its key, in PEM and without a passphrase.",
        ) from error
    return Certificate(cert, key)


def client_context(ca: str | None) -> ssl.SSLContext:
    """Return how the certificates of others are checked.

    Args:
        ca: A file of authorities in PEM, the only ones to trust; None for those of the system.

    Raises:
        SettingsError: The file cannot be read, or contains no authority.
    """
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise SettingsError(
            f"CORDBOARD_TLS_CA: {ca}: {_words(error)}.",
            hint="Set it to the name of a file of certificates in PEM.",
        ) from error


def _words(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).lower().replace("_", " ")
    return error.strerror or str(error)
