"""Settings of what all components share: Redis, and the periods that they must agree on."""

from dataclasses import dataclass

from cordboard.settings.kinds import Positive


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class StoreSettings:
    """Where the shared state is, and how long it is kept."""

    redis_url: str | None = None
    """The URL of Redis or Valkey: redis://, rediss://, unix://,
    redis+sentinel://HOST:PORT,.../MASTER/DB or redis+cluster://HOST:PORT,...; with TLS
    rediss+sentinel:// and rediss+cluster://, with ?ssl_ca_certs=FILE for your own certificate
    authority. If unset, `cordboard up` starts an embedded server, and the other commands use
    redis://127.0.0.1:6379/0."""

    shards: Positive = 1
    """Number of shards over which rooms are spread. One is enough for a single Redis; a cluster
    takes as many as it has primaries, or a multiple. All components must have the same number.
    Change it only while no session is live."""

    record_kept_hours: Positive = 24
    """Hours for which a session's record is kept after its end, and with it everything in Redis
    that names the session, its room and its user: long enough to look into yesterday's call, short
    enough to limit the memory (2 KB per record). Gateways, operators and runners must have the same
    number."""

    lease_s: Positive = 15
    """Seconds after which a session without a renewal is suspect. A runner renews three times in
    this period; a holder stops its bot after five such periods without a renewal, and an operator
    recovers its session after six. Gateways, operators and runners must have the same number."""
