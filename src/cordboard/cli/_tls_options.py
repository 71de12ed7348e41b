"""The options for TLS of all commands that serve HTTP."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cordboard.settings import Settings
    from cordboard.web.tls import Certificate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--tls-cert`` and ``--tls-key`` to ``parser``."""
    parser.add_argument(
        "--tls-cert",
        metavar="FILE",
        help="serve https with this certificate, in PEM with its chain (default: tls_cert, else http)",
    )
    parser.add_argument(
        "--tls-key",
        metavar="FILE",
        help="private key of the certificate (default: tls_key, else in the same file)",
    )


def as_arguments(args: argparse.Namespace) -> list[str]:
    """Return the options for TLS in ``args`` as arguments for another process."""
    given = {"--tls-cert": args.tls_cert, "--tls-key": args.tls_key}
    return [word for name, value in given.items() if value is not None for word in (name, value)]


def certificate(args: argparse.Namespace, settings: "Settings") -> "Certificate | None":
    """Return the certificate to serve with; None for plain HTTP.

    An empty ``--tls-cert`` turns off the certificate of the settings.

    Args:
        args: The parsed arguments.
        settings: The settings, for what the arguments leave open.

    Raises:
        UsageError: A key is given without a certificate.
        SettingsError: The files cannot be used.
    """
    from cordboard.contract.errors import UsageError
    from cordboard.web.tls import load_certificate

    if args.tls_cert is None:
        return load_certificate(settings.tls_cert, args.tls_key or settings.tls_key)
    if args.tls_key and not args.tls_cert:
        raise UsageError("--tls-key: expected a certificate as well, --tls-cert FILE.")
    return load_certificate(args.tls_cert, args.tls_key)
