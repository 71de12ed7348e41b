"""Every setting, with its unit, its effect and why this default.

The only reader of ``cordboard.toml`` and, beside ``context/carrier.py``, of the environment. A
setting has one name: ``redis_url`` in the file is ``REDIS_URL`` in the environment, which wins.
Secrets come from the environment or from files that it names, never from ``cordboard.toml``.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cordboard import faults, secret_files
from cordboard.contract.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

CONFIG_NAME: Final = "cordboard.toml"
CONTROL_SECRET: Final = "BOT_CONTROL_SHARED_SECRET"  # noqa: S105 - a variable's name
CONTROL_SECRET_PREV: Final = "BOT_CONTROL_SHARED_SECRET_PREV"  # noqa: S105 - a variable's name
SESSION_SECRET: Final = "CORDBOARD_SESSION_SECRET"  # noqa: S105 - a variable's name
SESSION_SECRET_PREV: Final = "CORDBOARD_SESSION_SECRET_PREV"  # noqa: S105 - a variable's name
LOGIN_SECRET: Final = "CORDBOARD_INTERFACE_LOGIN_SECRET"  # noqa: S105 - a variable's name
PRELOAD_BOTS: Final = "CORDBOARD_PRELOAD_BOTS"

PRELOAD_BARE: Final = "CORDBOARD_PRELOAD_BARE"
PRELOAD_RUNNER: Final = "CORDBOARD_PRELOAD_RUNNER"
PRELOAD_LANDLOCK: Final = "CORDBOARD_PRELOAD_LANDLOCK"
DUMPABLE: Final = "CORDBOARD_DUMPABLE"
FAULTS: Final = "CORDBOARD_FAULTS"

_SECRET_NAMES: Final = (
    CONTROL_SECRET,
    CONTROL_SECRET_PREV,
    SESSION_SECRET,
    SESSION_SECRET_PREV,
    LOGIN_SECRET,
)
SECRET_VARIABLES: Final = (
    *(name + end for name in _SECRET_NAMES for end in ("", "_FILE")),
    "REDIS_URL",
)
"""Every variable that holds a secret of Cordboard or the path of one; no bot gets any of them."""
SESSION_SECRETS: Final = tuple(
    name + end for name in (SESSION_SECRET, SESSION_SECRET_PREV) for end in ("", "_FILE")
)
PLACEMENTS: Final = ("spread", "pack")
SECRET_SOCKET: Final = "up.sock"  # noqa: S105 - a file's name
SECRET_TIMEOUT_S: Final = 5.0
_CHOICES: Final = (PLACEMENTS, ("auto", "off"))
_TABLES: Final = ("bots", "environments", "logs")
# Settings, by the beginning of their names, that mean nothing to a runner elsewhere.
_OF_THIS_MACHINE: Final = (
    "redis_url",
    "gateway_url",
    "interface_",
    "trusted_",
    "log_",
    "kubernetes_",
    "tls_",
)
# Set by our own processes for each other; no user sets them.
_INTERNAL: Final = (PRELOAD_BOTS, PRELOAD_BARE, PRELOAD_RUNNER, PRELOAD_LANDLOCK, FAULTS)


class Most(int):
    """A limit as a setting's default: its value may be 0, for no limit."""


class Setting:
    """One setting: an attribute of `Settings` that cannot be set anew.

    A dataclass would do the same; a command that only needs to know where logs are would start a
    fifth later for it.

    Args:
        default: What it is where nobody says.
        env: Its variable.
        doc: Its unit, its effect, and why this default.

    Attributes:
        name: Its name in ``cordboard.toml``.
    """

    __slots__ = ("default", "doc", "env", "name")

    def __init__(self, default: Any, env: str, doc: str) -> None:
        self.default = default
        self.env = env
        self.doc = doc
        self.name = ""

    def __set_name__(self, _: type, name: str) -> None:
        """Learn its name."""
        self.name = name

    def __get__(self, settings: "Settings", _: type | None = None) -> Any:
        """Return what was found, or the default."""
        return settings.found.get(self.name, self.default)

    def __set__(self, settings: "Settings", _: Any) -> None:
        """Refuse: what was loaded stays as it is.

        Raises:
            AttributeError: Always.
        """
        raise AttributeError(f"{self.name} is set by load() alone")


def _setting(default: Any, env: str, doc: str) -> Any:
    return Setting(default, env, doc)


class Settings:
    """What ``load`` found; every setting has its meaning beside it.

    Args:
        bots: The bots' files by their names.
        environments: What ``[environments]`` says.
        logs: What ``[logs]`` says.
        config_file: The file that was read.
        found: The settings that differ from their defaults, by their names.
    """

    __slots__ = ("bots", "config_file", "environments", "found", "logs")

    def __init__(
        self,
        *,
        bots: Mapping[str, str] | None = None,
        environments: Mapping[str, Any] | None = None,
        logs: Mapping[str, Any] | None = None,
        config_file: "Path | None" = None,
        **found: Any,
    ) -> None:
        self.bots: Mapping[str, str] = bots or {}
        self.environments: Mapping[str, Any] = environments or {}
        self.logs: Mapping[str, Any] = logs or {}
        self.config_file = config_file
        if unknown := found.keys() - {item.name for item in SETTINGS}:
            raise TypeError(f"no such settings: {', '.join(sorted(unknown))}")
        self.found: Mapping[str, Any] = found

    redis_url: str | None = _setting(
        None,
        "REDIS_URL",
        "Where Redis or Valkey is: redis://, rediss://, unix://, "
        "redis+sentinel://HOST:PORT,.../MASTER/DB or redis+cluster://HOST:PORT,...; with TLS "
        "rediss+sentinel:// and rediss+cluster://, with ?ssl_ca_certs=FILE for your own "
        "certificate authority. If unset, `cordboard up` starts an embedded one, and the "
        "other commands use redis://127.0.0.1:6379/0.",
    )
    shards: int = _setting(
        1,
        "CORDBOARD_SHARDS",
        "Shards over which rooms are spread; one is enough for one Redis, a cluster takes as many as "
        "it has primaries, or a multiple. The same number for all parts; changed only while no "
        "session is live.",
    )
    gateway_url: str = _setting(
        "http://127.0.0.1:4444",
        "CORDBOARD_GATEWAY_URL",
        "The gateway that the interface and `cordboard call` ask.",
    )
    interface_url: str | None = _setting(
        None,
        "CORDBOARD_INTERFACE_URL",
        "The address under which people open the interface, such as "
        "https://voice.example.org. With https the login's cookie is sent over TLS only, "
        "browsers are told to use TLS only (HSTS), and requests for other hosts get 421. Set "
        "it if a proxy stands in front of the interface.",
    )
    interface_login: str | None = _setting(
        None,
        "CORDBOARD_INTERFACE_LOGIN",
        "How people sign in: `name` lets everybody in who types a name, which is not "
        "authentication; `header` takes the name from a proxy that has authenticated the "
        "person. It has no default beyond loopback, so that nobody opens an interface to "
        "everybody by mistake; on loopback it is `name`.",
    )
    interface_login_header: str = _setting(
        "X-Forwarded-User",
        "CORDBOARD_INTERFACE_LOGIN_HEADER",
        "With the login `header`: the request header that holds the user's name. The default "
        "is the one that oauth2-proxy and most other proxies send.",
    )
    trusted_proxies: tuple[str, ...] = _setting(
        (),
        "CORDBOARD_TRUSTED_PROXIES",
        "Addresses and networks (10.0.0.7, 10.0.0.0/8) of the proxies whose X-Forwarded-For "
        "and X-Forwarded-Proto are trusted, separated by commas in the environment; by "
        "default those of loopback, because anybody else can send such a header.",
    )
    interface_people_per_address: int = _setting(
        10,
        "CORDBOARD_INTERFACE_PEOPLE_PER_ADDRESS",
        "Factor by which the limits of one client address on joins, offers, streams and log "
        "lines exceed those of one person: an office shares an address, and a login by name "
        "costs nothing.",
    )
    interface_joins_per_minute: int = _setting(
        10,
        "CORDBOARD_INTERFACE_JOINS_PER_MINUTE",
        "Joins of one person per minute; a person who tries again after each failure sends "
        "about six.",
    )
    interface_offers_per_minute: int = _setting(
        60,
        "CORDBOARD_INTERFACE_OFFERS_PER_MINUTE",
        "WebRTC offers and batches of candidates of one person per minute; a call sends one "
        "offer and about five batches.",
    )
    interface_logins_per_minute: int = _setting(
        30,
        "CORDBOARD_INTERFACE_LOGINS_PER_MINUTE",
        "Attempts to sign in from one client address per minute: enough for a class that "
        "starts at the same time, too few for a program that makes up names by the thousand.",
    )
    interface_streams_per_user: int = _setting(
        8,
        "CORDBOARD_INTERFACE_STREAMS_PER_USER",
        "Event streams that one person may have open at once; a page has one during a call, "
        "and browsers open at most six over HTTP/1.1.",
    )
    interface_log_lines_per_s: int = _setting(
        200,
        "CORDBOARD_INTERFACE_LOG_LINES_PER_S",
        "Log lines per second of one person's browsers, with a burst of 20 s' worth: twice "
        "what a page keeps through an outage. A call sends about 40 lines in all.",
    )
    interface_log_bytes_per_s: int = _setting(
        65_536,
        "CORDBOARD_INTERFACE_LOG_BYTES_PER_S",
        "Bytes of log lines per second of one person's browsers, with a burst of 32 s' worth "
        "(2 MiB): twice what a page keeps through an outage.",
    )
    interface_log_total_bytes_per_s: int = _setting(
        1_048_576,
        "CORDBOARD_INTERFACE_LOG_TOTAL_BYTES_PER_S",
        "Bytes of log lines per second of all browsers together, so that the log files of "
        "`up` (384 MB for each part) hold at least six minutes, and days in normal use.",
    )
    interface_max_duration_s: int = _setting(
        1800,
        "CORDBOARD_INTERFACE_MAX_DURATION_S",
        "Seconds after which a call that was started in the interface ends; a page that is "
        "left open must not occupy a bot for hours. The gateway's own default is 4 h.",
    )
    interface_hosts: tuple[str, ...] = _setting(
        (),
        "CORDBOARD_INTERFACE_HOSTS",
        "Host names besides localhost that an interface on loopback accepts in requests, for "
        "a proxy or a tunnel that forwards its own host name; all others are refused (DNS "
        "rebinding).",
    )
    local_hosts: tuple[str, ...] = _setting(
        (),
        "CORDBOARD_LOCAL_HOSTS",
        "Host names besides localhost that a gateway, operator or runner on loopback accepts "
        "in requests, for a proxy or a tunnel that forwards its own host name; all others are "
        "refused, because a web page can make its own name resolve to this machine (DNS "
        "rebinding).",
    )
    tls_cert: str | None = _setting(
        None,
        "CORDBOARD_TLS_CERT",
        "The certificate (PEM, with its chain) with which a part serves https. If unset, the "
        "part serves http, and its network has to be private. A new certificate is read at "
        "the next start.",
    )
    tls_key: str | None = _setting(
        None,
        "CORDBOARD_TLS_KEY",
        "The private key of that certificate (PEM); if unset, it is in the same file.",
    )
    tls_ca: str | None = _setting(
        None,
        "CORDBOARD_TLS_CA",
        "A file of certificate authorities (PEM) with which gateways, operators, interfaces "
        "and commands verify the certificates of runners and gateways. If unset, the system's "
        "authorities are trusted.",
    )
    wrong_secrets_per_minute: int = _setting(
        60,
        "CORDBOARD_WRONG_SECRETS_PER_MINUTE",
        "Wrong control secrets that one address may send per minute; further ones are "
        "answered with 429. A monitor with an old secret sends four. A right secret is always "
        "accepted, because callers may share an address with somebody who guesses.",
    )
    streams_per_gateway: int = _setting(
        500,
        "CORDBOARD_STREAMS_PER_GATEWAY",
        "Event streams that one gateway has open at once; each takes a file descriptor, of "
        "which most systems give a process 1024.",
    )
    streams_per_session: int = _setting(
        16,
        "CORDBOARD_STREAMS_PER_SESSION",
        "Event streams of one session that one gateway has open at once: two for each window "
        "of a person with several windows, because a reconnecting window has two for a "
        "moment.",
    )
    log_dir: str | None = _setting(
        None,
        "CORDBOARD_LOG_DIR",
        "Where `up` tees all lines and `logs --local` reads; by default "
        "$XDG_STATE_HOME/cordboard/logs/local.",
    )
    log_file_max_mb: int = _setting(
        64,
        "CORDBOARD_LOG_FILE_MAX_MB",
        "Megabytes after which `up` rotates a log file; 64 hold about a day of ten busy rooms.",
    )
    log_files_kept: int = _setting(
        5,
        "CORDBOARD_LOG_FILES_KEPT",
        "Rotated files that `up` keeps of each part; older ones are deleted.",
    )
    queue_max: int = _setting(
        1000,
        "CORDBOARD_QUEUE_MAX",
        "Accepted joins that may wait for a runner; more are refused with 429, because a caller "
        "who is told to come back is better off than one who waits past the deadline.",
    )
    sessions_per_user: int = _setting(
        Most(3),
        "CORDBOARD_SESSIONS_PER_USER",
        "Live sessions, including waiting ones, of one person who joins through a public "
        "entrance (the interface): one call, one that is ending, and one in another tab. "
        "Further joins are refused with 429; 0 means no limit. If the runners have no more "
        "slots than this, one is always left for others.",
    )
    sessions_per_address: int = _setting(
        Most(20),
        "CORDBOARD_SESSIONS_PER_ADDRESS",
        "The same for all persons of one network address (with IPv6 one /64) together: an "
        "office behind one address needs several, and somebody who makes up names gets no "
        "more. 0 means no limit.",
    )
    sessions_per_tenant: int = _setting(
        Most(0),
        "CORDBOARD_SESSIONS_PER_TENANT",
        "Live sessions of one tenantId, whoever joins; 0 means no limit, because only you "
        "know what a tenant has paid for.",
    )
    record_kept_hours: int = _setting(
        24,
        "CORDBOARD_RECORD_KEPT_HOURS",
        "Hours for which a session's record is kept after its end, and with it everything in "
        "Redis that names the session, its room and its user: long enough to look into "
        "yesterday's call, short enough to limit the memory (2 KB each). The same number for "
        "gateway, operators and runners.",
    )
    runner_capacity: int = _setting(
        4,
        "CORDBOARD_RUNNER_CAPACITY",
        "Sessions that one warm runner takes at once; 4 spoken ones keep two cores below half.",
    )
    overload_lag_ms: int = _setting(
        Most(20),
        "CORDBOARD_OVERLOAD_LAG_MS",
        "Milliseconds by which event loops run late, on average over 10 s and while the "
        "processors are busy, from which a runner takes no more sessions until it keeps up "
        "again; 20 is one frame of audio. 0 turns this off.",
    )
    placement: str = _setting(
        "spread",
        "CORDBOARD_PLACEMENT",
        "Which warm runner gets a session: `spread`, the one with most free slots, or `pack`, the "
        "fullest that has one, which leaves others empty so that they can be taken away.",
    )
    crowd_percent: int = _setting(
        50,
        "CORDBOARD_CROWD_PERCENT",
        "When more than this share of the sessions looks dead at once, an operator suspects Redis "
        "or the network first, waits for two seconds, and says so.",
    )
    offer_timeout_s: int = _setting(
        60,
        "CORDBOARD_OFFER_TIMEOUT_S",
        "Seconds that a bot in a webrtc: room waits for the first offer; then it ends as "
        "user_absent. The same number for all runners.",
    )
    user_absent_s: int = _setting(
        Most(60),
        "CORDBOARD_USER_ABSENT_S",
        "Seconds without a connected caller after which a session in a webrtc: room ends as "
        "user_absent, whatever its bot does; 60 give a page time to reconnect. 0 leaves it to "
        "the bot. Set more for a bot that works on after the call.",
    )
    bot_memory_mb: int = _setting(
        4096,
        "CORDBOARD_BOT_MEMORY_MB",
        "Megabytes of data that one bot's process may hold, so that a bot that leaks fails "
        "alone; a bot over WebRTC with voice detection holds about 200. The limit applies to "
        "each process that a bot starts as well.",
    )
    bot_file_mb: int = _setting(
        4096,
        "CORDBOARD_BOT_FILE_MB",
        "Megabytes that one file written by a bot may have, so that a bot that writes without "
        "end does not fill the disk at once. A stereo recording of the longest session (4 "
        "hours of 16 bits at 48 kHz) takes 2800.",
    )
    bot_processes: int = _setting(
        64,
        "CORDBOARD_BOT_PROCESSES",
        "Processes that one bot may have running at a time; a bot with more is killed as "
        "crashed. A browser that a bot controls has about 20.",
    )
    bot_landlock: str = _setting(
        "auto",
        "CORDBOARD_BOT_LANDLOCK",
        "`auto` confines bots with Landlock where the kernel supports it (Linux 5.19): a bot "
        "can inspect only its own processes and, from Linux 6.12 on, send signals only to "
        "them. `off` is for bots that need setuid programs such as sudo.",
    )
    lease_s: int = _setting(
        15,
        "CORDBOARD_LEASE_S",
        "Seconds after which a session without a renewal is suspect. Renewals come three times as "
        "often; a holder stops after five times as long without one, and is given up after six. "
        "The same number for gateway, operators and runners.",
    )
    daily_domains: tuple[str, ...] = _setting(
        (),
        "CORDBOARD_DAILY_DOMAINS",
        "Hosts beside *.daily.co whose rooms are Daily's; separated by commas in the environment.",
    )
    kubernetes_context: str | None = _setting(
        None,
        "CORDBOARD_KUBERNETES_CONTEXT",
        "The kubeconfig's context in which cold runners start; by default the current one, and in a "
        "pod the cluster that it runs in.",
    )
    kubernetes_namespace: str | None = _setting(
        None,
        "CORDBOARD_KUBERNETES_NAMESPACE",
        "The namespace of the Jobs of cold runners; by default the context's, or the pod's own.",
    )
    kubernetes_image: str | None = _setting(
        None,
        "CORDBOARD_KUBERNETES_IMAGE",
        "The image of cold runners: one with `cordboard[bots]` and your bot files in it. Needed for "
        "`--launcher kubernetes`, unless the template names one.",
    )
    kubernetes_secret: str = _setting(
        "cordboard",
        "CORDBOARD_KUBERNETES_SECRET",
        "The Secret with the keys REDIS_URL and BOT_CONTROL_SHARED_SECRET (and, while it changes, "
        "BOT_CONTROL_SHARED_SECRET_PREV): a Job names it, and holds no secret itself.",
    )
    kubernetes_service_account: str | None = _setting(
        None,
        "CORDBOARD_KUBERNETES_SERVICE_ACCOUNT",
        "The service account of cold runners; unset, the namespace's default one without a token, "
        "as a runner asks nothing of Kubernetes.",
    )
    kubernetes_cpu: str = _setting(
        "500m",
        "CORDBOARD_KUBERNETES_CPU",
        "The CPU that a cold runner is promised; it may use more where there is some, because a bot "
        "held back at its start is heard.",
    )
    kubernetes_memory: str = _setting(
        "1Gi",
        "CORDBOARD_KUBERNETES_MEMORY",
        "The memory that a cold runner is promised, and its limit: Pipecat with voice detection "
        "takes about 300 MiB, the rest is your bot's.",
    )
    kubernetes_template: str | None = _setting(
        None,
        "CORDBOARD_KUBERNETES_TEMPLATE",
        "A YAML file with a Job, or parts of one, that every Job starts from: nodes, volumes, "
        "security, further variables. What makes it this session's Job is put over it.",
    )

    @property
    def state_dir(self) -> "Path":
        """The private directory of `cordboard up` on this machine."""
        return state_dir()

    @property
    def log_path(self) -> "Path":
        """The local log directory."""
        return _path(self.log_folder)

    @property
    def log_folder(self) -> str:
        """The same as text: a query does without pathlib."""
        return self.log_dir or os.path.join(_state_folder(), "logs", "local")

    @property
    def redis_url_or_default(self) -> str:
        """Where the parts look for Redis when nobody said."""
        return self.redis_url or "redis://127.0.0.1:6379/0"

    @property
    def record_kept_s(self) -> int:
        """The time for which records are kept, in seconds."""
        return int(self.record_kept_hours) * 3600

    @property
    def control_secrets(self) -> tuple[str, ...]:
        """The control secret and its predecessor, as they are now (files are read again)."""
        return _present(CONTROL_SECRET, CONTROL_SECRET_PREV)

    @property
    def session_secret(self) -> str | None:
        """What signs the interface's login cookie; None where none is set."""
        return secret(SESSION_SECRET)

    @property
    def session_secrets(self) -> tuple[str, ...]:
        """The same and its predecessor, whose cookies are still valid; the first one signs."""
        return _present(SESSION_SECRET, SESSION_SECRET_PREV)

    @property
    def interface_login_secret(self) -> str | None:
        """What a proxy sends so that its user names are trusted; None if unset."""
        return secret(LOGIN_SECRET)


SETTINGS: Final = tuple(item for item in vars(Settings).values() if isinstance(item, Setting))


class RunningUp(NamedTuple):
    """A `cordboard up` that runs on this machine, from its state file."""

    pid: int
    addresses: Mapping[str, str]

    def secrets(self) -> Mapping[str, str]:
        """Return its secrets: ``control_secret`` and ``redis_url``.

        It sends them over a socket, to processes of its own user that no bot has started.

        Raises:
            SettingsError: It did not send them.
        """
        return request_secrets(state_dir() / SECRET_SOCKET)

    @property
    def gateway_url(self) -> str:
        """Where its gateway listens."""
        return self.addresses["gateway"]


def load(config_file: "str | Path | None" = None) -> Settings:
    """Read ``cordboard.toml`` (here, or as named) and the environment over it.

    Raises:
        SettingsError: A name is unknown, a value is of the wrong kind, the file cannot be read.
    """
    faults.arm(os.environ.get(FAULTS, ""))
    path = _config_path(config_file)
    table = _read_toml(path) if path else {}
    values = _from_file(table, path)
    _refuse_unknown_environment()
    for item in SETTINGS:
        text = os.environ.get(item.env)
        if text:
            values[item.name] = _parse(item.name, item.env, text, item.default)
    if "bots" in table:
        values["bots"] = _bots(table["bots"], path)
    for name in ("environments", "logs"):
        if name in table:
            values[name] = table[name]
    return Settings(**values, config_file=path)


def secret(name: str) -> str | None:
    """Read a secret from the variable ``name`` or from the file that ``name_FILE`` names.

    The file is read again at each call (``secret_files.py``), so that a new secret needs no restart.

    Raises:
        SettingsError: The file has no secret when it is read for the first time.
    """
    value = os.environ.get(name)
    if value:
        return value
    file = os.environ.get(f"{name}_FILE")
    return secret_files.read(name, file) if file else None


def _present(*names: str) -> tuple[str, ...]:
    return tuple(value for value in map(secret, names) if value)


def state_dir() -> "Path":
    """Return ``$XDG_STATE_HOME/cordboard``, by default below the home directory."""
    return _path(_state_folder())


def _state_folder() -> str:
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(base, "cordboard")


def _path(name: str) -> "Path":
    from pathlib import Path

    return Path(name)


def runner_identity() -> str | None:
    """Return the name that the cluster gave this process, if any: pod or job."""
    return os.environ.get("POD_NAME") or os.environ.get("JOB_ID")


def job_identity() -> str | None:
    """Return the name under which an operator started this process, if one did."""
    return os.environ.get("JOB_ID")


def kubeconfig_files() -> "tuple[Path, ...]":
    """Return the kubeconfig files that are there: those of KUBECONFIG, else ``~/.kube/config``."""
    named = os.environ.get("KUBECONFIG")
    found = [part for part in (named or "").split(os.pathsep) if part]
    found = found or [os.path.expanduser("~/.kube/config")]
    return tuple(_path(file) for file in found if os.path.isfile(file))


def is_color_disabled() -> bool:
    """Say whether the user asked for no colours (https://no-color.org)."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def pager_command() -> str | None:
    """Return the pager that the user wants, ``less`` where none is named; None where it is off."""
    named = os.environ.get("PAGER")
    return "less -FRSX" if named is None else None if named in {"", "cat"} else named


def preload_bots() -> dict[str, str]:
    """Return the bots (name to file) that a fork server loads, as its runner told it."""
    import json

    found: dict[str, str] = json.loads(os.environ.get(PRELOAD_BOTS, "{}"))
    return found


def preload_bare() -> bool:
    """Say whether a fork server leaves the bots to its children, as they start threads."""
    return os.environ.get(PRELOAD_BARE) == "1"


def preload_landlock() -> bool:
    """Return whether a fork server and its bots are confined by Landlock."""
    return os.environ.get(PRELOAD_LANDLOCK) == "1"


def is_inspection_allowed() -> bool:
    """Return whether debuggers and profilers may attach: ``CORDBOARD_DUMPABLE=1``."""
    return os.environ.get(DUMPABLE) == "1"


def preload_runner() -> int | None:
    """Return the process that started this fork server, which may have ended since."""
    pid = os.environ.get(PRELOAD_RUNNER)
    return int(pid) if pid else None


def set_preload_environment(bots: Mapping[str, str], *, landlock: bool) -> None:
    """Tell a fork server that this process starts which bots it is to load, and for whom."""
    import json

    os.environ[PRELOAD_BOTS] = json.dumps(dict(bots))
    os.environ[PRELOAD_RUNNER] = str(os.getpid())
    os.environ[PRELOAD_LANDLOCK] = "1" if landlock else "0"
    os.environ.pop(PRELOAD_BARE, None)
    # ONNX Runtime, which finds voices for Pipecat, else reports its use to its maker from each bot.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


@contextmanager
def without_secrets() -> Iterator[None]:
    """Keep our secrets from a process that is started inside the block: bots run in it."""
    taken = {name: os.environ.pop(name) for name in SECRET_VARIABLES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(taken)


def shared_environment(settings: Settings) -> dict[str, str]:
    """Return the settings that a runner on another machine must share, as its environment.

    No secret is among them, and nothing that tells of this machine.
    """
    found = {name: os.environ[name] for name in ("LOG_LEVEL", "LOG_FORMAT") if name in os.environ}
    for item in SETTINGS:
        value = getattr(settings, item.name)
        if item.name.startswith(_OF_THIS_MACHINE) or value == item.default:
            continue
        text = ",".join(value) if isinstance(value, tuple) else str(value)
        found[item.env] = text
    return found


def child_environment(**over: str | None) -> dict[str, str]:
    """Return this process's environment with some values over it; None removes one."""
    merged = dict(os.environ)
    for name, value in over.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = value
    return merged


def clean_environment() -> dict[str, str]:
    """Return this process's environment without the secrets of Cordboard."""
    return child_environment(**dict.fromkeys(SECRET_VARIABLES))


def up_state_file() -> "Path":
    """Return the private file in which `cordboard up` says what runs where, without secrets."""
    return state_dir() / "up.json"


def running_up() -> RunningUp | None:
    """Return the `cordboard up` that runs on this machine, if one does.

    Its state file is locked while it lives (flock), so that a killed one is never taken for alive.
    """
    import json

    try:
        with up_state_file().open(encoding="utf-8") as file:
            if not _is_locked(file.fileno()):
                return None
            state = json.load(file)
        return RunningUp(state["pid"], state["addresses"])
    except (OSError, ValueError, KeyError):
        return None


def request_secrets(path: "Path") -> Mapping[str, str]:
    """Return what a `cordboard up` answers at its socket.

    Raises:
        SettingsError: It answers this process nothing, or does not run.
    """
    import json
    import socket

    answer = b""
    directory = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(SECRET_TIMEOUT_S)
            # Through the descriptor: the name of a socket is limited to 107 bytes, a directory's is not.
            asked.connect(f"/proc/self/fd/{directory}/{path.name}")
            while more := asked.recv(4096):
                answer += more
        found: Mapping[str, str] = json.loads(answer)
    except (OSError, ValueError) as error:
        raise SettingsError(
            "The running `cordboard up` did not give its secret to this process.",
            hint="While it runs, it gives the secret to processes of its user, except bots and what they start.",
        ) from error
    finally:
        os.close(directory)
    return found


def documented() -> Iterable[tuple[str, str, object, str]]:
    """Yield name, environment variable, default and meaning of each setting, for the docs."""
    for item in SETTINGS:
        yield item.name, item.env, item.default, item.doc


def _is_locked(fd: int) -> bool:
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def _config_path(config_file: "str | Path | None") -> "Path | None":
    if config_file is not None:
        return _path(os.fspath(config_file))
    return _path(CONFIG_NAME).resolve() if os.path.isfile(CONFIG_NAME) else None


def _read_toml(path: "Path") -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"Cannot read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise SettingsError(f"{path} is not TOML: {error}.") from error


def _from_file(table: Mapping[str, Any], path: "Path | None") -> dict[str, Any]:
    by_name = {item.name: item for item in SETTINGS}
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name in _TABLES:
            if not isinstance(value, dict):
                raise SettingsError(f"{path}: {name} is a table: write [{name}].")
            continue
        if name.upper() in _SECRET_NAMES:
            raise SettingsError(
                f"{path}: {name} is a secret and does not belong in this file.",
                hint=f"Set {name.upper()} or {name.upper()}_FILE in the environment.",
            )
        if name not in by_name:
            raise SettingsError(
                f"{path}: {name}: no such setting.{_nearest(name, [*by_name, *_TABLES])}"
            )
        values[name] = _typed(f"{path}: {name}", value, by_name[name].default)
    return values


def _shown(value: Any) -> str:
    from cordboard.contract.redaction import redact

    return redact(repr(value))


def _typed(where: str, value: Any, default: Any) -> Any:
    if isinstance(default, tuple):
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise SettingsError(f"{where}: expected a list of strings, got {_shown(value)}.")
    if isinstance(default, int):
        least = 0 if isinstance(default, Most) else 1
        if isinstance(value, int) and not isinstance(value, bool) and value >= least:
            return value
        wanted = "a number above 0" if least else "a number, 0 or more"
        raise SettingsError(f"{where}: expected {wanted}, got {_shown(value)}.")
    if isinstance(value, str):
        return _chosen(where, value, default)
    raise SettingsError(f"{where}: expected a string, got {_shown(value)}.")


def _chosen(where: str, value: str, default: Any) -> str:
    for choices in _CHOICES:
        if default in choices and value not in choices:
            raise SettingsError(f"{where}: expected {' or '.join(choices)}, got {_shown(value)}.")
    return value


def _parse(name: str, env: str, text: str, default: Any) -> Any:
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if isinstance(default, int):
        value = int(text) if text.isascii() and text.isdigit() else text
        return _typed(f"{env} ({name})", value, default)
    return _chosen(f"{env} ({name})", text, default)


def _bots(table: Mapping[str, Any], path: "Path | None") -> dict[str, str]:
    from cordboard.contract.ids import is_bot_name

    base = path.parent if path else _path(".")
    for name, file in table.items():
        if not isinstance(file, str):
            raise SettingsError(f"{path}: [bots] {name}: expected a file name, got {file!r}.")
        if not is_bot_name(name):
            raise SettingsError(
                f"{path}: [bots] {name!r}: this is not a valid bot name.",
                hint="Expected 1 to 64 of A-Z a-z 0-9 . _ -",
            )
    return {name: str(base / file) for name, file in table.items()}


def _refuse_unknown_environment() -> None:
    known = [item.env for item in SETTINGS]
    known += [*SECRET_VARIABLES, DUMPABLE]
    for name in os.environ:
        if name.startswith("CORDBOARD_") and name not in known and name not in _INTERNAL:
            raise SettingsError(f"Environment: {name}: no such setting.{_nearest(name, known)}")


def _nearest(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    found = get_close_matches(name, list(known), n=1)
    return f" Did you mean {found[0]}?" if found else f" Known are {', '.join(sorted(known))}."
