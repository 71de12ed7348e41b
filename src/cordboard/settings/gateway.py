"""Settings of gateways, and the limits on joins."""

from dataclasses import dataclass

from cordboard.settings.kinds import Limit, Positive


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class GatewaySettings:
    """How many joins, live sessions and event streams gateways accept."""

    gateway_url: str = "http://127.0.0.1:4444"
    """URL of the gateway that the interface, `cordboard call` and `cordboard sessions` use."""

    streams_per_gateway: Positive = 500
    """Event streams that one gateway may have open at once. Each takes a file descriptor, and most
    systems allow a process 1024."""

    streams_per_session: Positive = 16
    """Event streams of one session that one gateway may have open at once: two for each window of a
    person with several windows, because a reconnecting window has two for a moment."""

    queue_max: Positive = 1000
    """Accepted joins that may wait for a runner. Further joins are refused with 429, because a
    caller who can retry later is better off than one who waits past the deadline."""

    sessions_per_user: Limit = 3
    """Live sessions, including waiting ones, of one person who joins through a public entrance (the
    interface): one call, one that is ending, and one in another tab. Further joins are refused with
    429; 0 means no limit. If the runners have no more slots than this, one is always left for
    others."""

    sessions_per_address: Limit = 20
    """The same for all people at one network address (with IPv6, one /64) together: an office
    behind one address needs several, and somebody who invents names gets no more than that. 0 means
    no limit."""

    sessions_per_tenant: Limit = 0
    """Live sessions of one tenantId, for all callers together; 0 means no limit. There is no
    default limit, because it depends on what a tenant has paid for."""
