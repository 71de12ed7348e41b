"""What ``cordboard up`` starts: the command line, port and environment of each component."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cordboard.environment import (
    ACCOUNT_VARIABLES,
    CONTROL_SECRET,
    GATEWAY_URL,
    ICE_SERVERS,
    INTERFACE_LOGS,
    LOCAL_LOGS,
    LOCAL_OPERATOR,
    SECRET_VARIABLES,
    SESSION_SECRET,
    SESSION_SECRETS,
    STREAM_GRACE,
    TURN_SECRET,
    child_environment,
)
from cordboard.runner.bot_environment import environment_file, read_environment_file
from cordboard.runner.bot_file import parse_bot_options
from cordboard.settings import Settings
from cordboard.up.ports import HOST

# Shorter than the runner's time in GRACE_S: the runner ends its sessions, and then itself.
RUNNER_GRACE_S: Final = 5
# First those that let new sessions in. The operator is last: it recovers what the others leave.
PUBLIC: Final = ("edge", "interface")
"""The components that strangers' requests reach."""
STOP_ORDER: Final = ("edge", "interface", "gateway", "runner", "operator")


@dataclass(frozen=True, slots=True)
class Options:
    """The options of ``cordboard up``.

    Attributes:
        gateway_port: The port of the gateway; 0 means any free one, here and below.
        runner_port: The port of the runner.
        operator_port: The port of the operator.
        interface_port: The port of the interface.
        edge_port: The port of the edge.
        redis_port: The port of the embedded Valkey; None for its private socket alone, or if there is none.
        runners: The number of warm runners. The further ones get any free port, and start when the first one is
            ready.
        bots: The bots, each as ``FILE`` or ``NAME=FILE``; none means the built-in one.
        reload: Whether changed bot files are loaded again.
        config: The path of the file of settings; None for ``cordboard.toml``.
    """

    gateway_port: int = 4444
    runner_port: int = 7861
    operator_port: int = 4445
    interface_port: int = 3000
    edge_port: int = 7860
    redis_port: int | None = None
    runners: int = 2
    bots: tuple[str, ...] = ()
    reload: bool = False
    config: str | None = None

    @property
    def ports(self) -> dict[str, int]:
        """The requested port of each component, and of the embedded Valkey if it gets one."""
        return {
            "gateway": self.gateway_port,
            "runner": self.runner_port,
            "operator": self.operator_port,
            "interface": self.interface_port,
            "edge": self.edge_port,
            **{f"runner-{number}": 0 for number in range(2, self.runners + 1)},
            **({"redis": self.redis_port} if self.redis_port is not None else {}),
        }


@dataclass(frozen=True, slots=True)
class SharedSecrets:
    """The secrets that the components get.

    Attributes:
        control: The control secret.
        session: The secret with which the interface signs logins; None if the user has set one.
        redis_url: The URL of Redis with its password.
    """

    control: str = field(repr=False)
    session: str | None = field(repr=False)
    redis_url: str = field(repr=False)


def service_of(component: str) -> str:
    """Return the service of a component: ``runner`` for ``runner-2``, for example."""
    return component.partition("-")[0]


def is_further_runner(component: str) -> bool:
    """Return whether a component is a runner besides the first one."""
    return component.startswith("runner-")


def component_urls(ports: Mapping[str, int]) -> dict[str, str]:
    """Return the base URL of each component, given the `ports` by their names."""
    return {name: f"http://{HOST}:{port}" for name, port in ports.items()}


def component_arguments(
    options: Options, settings: Settings, ports: Mapping[str, int]
) -> dict[str, list[str]]:
    """Return the command line of each component, after ``cordboard``.

    Args:
        options: The options of ``up``.
        settings: The settings.
        ports: The port of each component by its name.
    """
    # Nobody can intercept on loopback, and the components' own requests are plain HTTP.
    shared = ["--tls-cert", ""]
    shared += ["--config", options.config] if options.config else []
    bots = [argument for bot in options.bots for argument in ("--bot", bot)]
    reload = ["--reload"] if options.reload else []
    capacity = str(settings.runner_capacity)
    arguments = {
        "runner": ["--capacity", capacity, "--grace", str(RUNNER_GRACE_S), *reload, *bots],
        "gateway": [],
        "operator": bots,
        "interface": [],
        "edge": [],
    }
    return {
        name: [service_of(name), "--host", HOST, "--port", str(port), *own, *shared]
        for name, port in ports.items()
        for own in (arguments[service_of(name)],)
    }


def accounts_of_bots(options: Options, settings: Settings) -> dict[str, str]:
    """Return the accounts at room services and carriers that the ``.env`` files beside the bots name.

    Pipecat's runner reads one ``.env`` for the bot and for its routes, so the edge of ``up`` gets these
    variables, too. A variable that is set already keeps its value; of two bots, the first one counts.

    Args:
        options: The options of ``up``.
        settings: The settings.

    Raises:
        BotFileError: A file ``.env`` is invalid.
        UsageError: A bot's name is invalid or given twice.
    """
    sources = [
        variable
        for carrier in settings.phone.carriers.values()
        for source, variable in carrier.secret_sources.items()
        if source.endswith("_env")
    ]
    names = {*ACCOUNT_VARIABLES, *sources} - {*SECRET_VARIABLES}
    accounts: dict[str, str] = {}
    for bot_file in parse_bot_options(options.bots, settings.bots).values():
        path = environment_file(Path(bot_file))
        variables = read_environment_file(path) if path else {}
        own = {name: value for name, value in variables.items() if name in names}
        accounts = {**own, **accounts}
    return {name: value for name, value in accounts.items() if name not in os.environ}


def interface_variables(settings: Settings) -> dict[str, str]:
    """Return the variables of the interface: what it shows, and to whom, unless the settings say so.

    Args:
        settings: The settings.
    """
    is_configured = (
        settings.interface_operators
        or settings.interface_operator_groups
        or settings.interface_login
        or settings.interface_url
        or settings.interface_hosts
        or settings.trusted_proxies
        or settings.root_path
        or settings.interface_local_operator is not None
    )
    variables = {INTERFACE_LOGS: settings.interface_logs or LOCAL_LOGS}
    return variables if is_configured else {**variables, LOCAL_OPERATOR: "true"}


def component_environment(
    name: str,
    gateway_url: str,
    secrets: SharedSecrets,
    accounts: Mapping[str, str],
    interface: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the environment of a component, which contains only the secrets that it needs.

    Args:
        name: The name of the component.
        gateway_url: The base URL of the gateway.
        secrets: All secrets.
        accounts: The accounts at room services and carriers, for the edge.
        interface: The variables of the interface.
    """
    shared = {
        CONTROL_SECRET: secrets.control,
        GATEWAY_URL: gateway_url,
        "LOG_FORMAT": "json",
        # Lines of print, too, must come at once and not in blocks.
        "PYTHONUNBUFFERED": "1",
    }
    if name not in PUBLIC:
        no_logins = dict.fromkeys(SESSION_SECRETS)
        return child_environment(**no_logins, **shared, REDIS_URL=secrets.redis_url)
    # Strangers' requests reach these components, so they get no access to Redis, and for TURN servers only
    # the credentials of a session, which the gateway derives.
    private = dict.fromkeys(
        ("REDIS_URL", "REDIS_URL_FILE", TURN_SECRET, f"{TURN_SECRET}_FILE", *ICE_SERVERS)
    )
    if name == "edge":
        # `up` has ended all sessions when it stops the edge, so no stream is worth waiting for.
        own = {**accounts, **dict.fromkeys(SESSION_SECRETS), STREAM_GRACE: "0"}
        return child_environment(**{**own, **shared, **private})
    environment = child_environment(**shared, **private, **(interface or {}))
    if secrets.session is not None:
        environment[SESSION_SECRET] = secrets.session
    return environment
