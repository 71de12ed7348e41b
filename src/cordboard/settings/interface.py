"""Settings of the interface."""

from dataclasses import dataclass

from cordboard.settings.kinds import Positive, RootPath


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class InterfaceSettings:
    """The interface's address, its login, and the limits on one person's requests."""

    interface_url: str | None = None
    """The address at which people open the interface, such as https://voice.example.org. With https
    the login's cookie is sent over TLS only, browsers use TLS only from then on (HSTS), and
    requests for other hosts get 421. Set it if a proxy stands in front of the interface."""

    root_path: RootPath = ""
    """The path prefix of the interface behind a proxy, such as /voice for https://example.org/voice/.
    The proxy may remove it from the requests that it forwards, or keep it. `--root-path` takes
    precedence. For the edge, write the prefix into `public_url`."""

    interface_login: str | None = None
    """How people sign in: `name` accepts everybody who types a name, which is not authentication,
    and is possible where only this machine can open the interface; `oidc` signs people in with an
    identity provider (OpenID Connect); `header` takes the name from a proxy that has authenticated the
    person. The default is `name` on loopback; an interface that others can open needs `oidc` or
    `header`."""

    interface_login_header: str = "X-Forwarded-User"
    """With the login `header`: the request header that holds the user's name. The default is the one
    that oauth2-proxy and most other proxies send."""

    interface_login_name_header: str | None = None
    """With the login `header`: the request header that holds the name that pages show, such as
    X-Forwarded-Preferred-Username. Unset, pages show the user's name."""

    interface_login_groups_header: str = "X-Forwarded-Groups"
    """With the login `header`: the request header that holds the user's groups, separated by commas.
    The default is the one that oauth2-proxy sends."""

    interface_operators: tuple[str, ...] = ()
    """Users who are operators: they see and end the sessions of all people, and read their logs. All
    others are callers, who see their own sessions. A user is the value of the login header, of
    `oidc_user_claim`, or the typed name; as everybody can type every name, use names on a machine of
    your own only."""

    interface_operator_groups: tuple[str, ...] = ()
    """Groups whose members are operators: of `oidc_groups_claim`, or of the groups header."""

    interface_local_operator: bool | None = None
    """On loopback, people whose browser runs as the user of the interface (or as root), and not behind a
    proxy, are operators: this user can read the log files anyway. Unset, it is false, but `cordboard up`
    sets it to true if nothing else says who is an operator, how people sign in, or that a proxy is in front."""

    interface_people_per_address: Positive = 10
    """Factor by which the limits of one client address on joins, offers, streams and log lines
    exceed those of one person: an office shares an address, and a login by name costs nothing."""

    interface_joins_per_minute: Positive = 10
    """Joins of one person per minute. A person who tries again after each failure sends about
    six."""

    interface_offers_per_minute: Positive = 60
    """WebRTC offers and batches of candidates of one person per minute. A call sends one offer and
    about five batches."""

    interface_logins_per_minute: Positive = 30
    """Attempts to sign in from one client address per minute: enough for a class that starts at the
    same time, too few for a program that generates thousands of names."""

    interface_streams_per_user: Positive = 8
    """Event streams that one person may have open at once. A page has one during a call, and
    browsers open at most six over HTTP/1.1."""

    interface_log_lines_per_s: Positive = 200
    """Log lines per second of one person's browsers, with a burst of 20 s' worth: twice what a page
    keeps during an outage. A call sends about 40 lines in all."""

    interface_log_bytes_per_s: Positive = 65_536
    """Bytes of log lines per second of one person's browsers, with a burst of 32 s' worth (2 MiB):
    twice what a page keeps during an outage."""

    interface_log_total_bytes_per_s: Positive = 1_048_576
    """Bytes of log lines per second of all browsers together, so that the log files of `up` (384 MB
    per component) hold at least six minutes, and days in normal use."""

    interface_max_duration_s: Positive = 1800
    """Seconds after which a call that was started in the interface ends; a page that is left open
    must not occupy a bot for hours. The gateway's own default is 4 h."""

    interface_logs: str | None = None
    """The environment of `cordboard logs` from which operators see the lines of sessions: `local`, or
    one of `[environments]`. Unset, the pages show no lines; `cordboard up` sets `local`."""

    interface_log_readings: Positive = 4
    """Sessions whose lines are read at the same time. Each reading is a process of its own, with
    about 50 MB of memory."""

    interface_hosts: tuple[str, ...] = ()
    """Host names besides localhost that an interface on loopback accepts in requests, for a proxy or
    a tunnel that forwards its own host name. All others are refused (DNS rebinding)."""
