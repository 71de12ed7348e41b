"""Settings of every component that serves HTTP: TLS, proxies, host names."""

from dataclasses import dataclass

from cordboard.settings.kinds import Positive


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class NetworkSettings:
    """With which certificates components serve and verify, and which proxies they trust."""

    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks (10.0.0.7, 10.0.0.0/8) of the proxies whose X-Forwarded-For and
    X-Forwarded-Proto are trusted, separated by commas in the environment. By default, the loopback
    addresses, because any other client can forge such a header."""

    local_hosts: tuple[str, ...] = ()
    """Host names besides localhost that a gateway, operator or runner on loopback accepts in
    requests, for a proxy or a tunnel that forwards its own host name. All others are refused,
    because a web page can make its own name resolve to this machine (DNS rebinding)."""

    tls_cert: str | None = None
    """The certificate (PEM, with its chain) with which a component serves https. If unset, the
    component serves http, and its network has to be private. A new certificate is read at the next
    start."""

    tls_key: str | None = None
    """The private key of that certificate (PEM). If unset, it is in the same file."""

    tls_ca: str | None = None
    """A file of certificate authorities (PEM) with which gateways, operators, interfaces and
    commands verify the certificates of runners and gateways. If unset, the system's authorities are
    trusted."""

    wrong_secrets_per_minute: Positive = 60
    """Wrong control secrets that one address may send per minute. Further ones are answered with
    429. A monitor with an old secret sends four per minute. A correct secret is always accepted,
    because callers may share an address with somebody who guesses."""
