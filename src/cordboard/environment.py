"""The environment of this process: the names of variables, and their meaning.

``cordboard.settings`` reads the variables of settings. This module reads all others: those of the
machine and its user, those that Cordboard's processes set for each other, and the names of those that
hold secrets. ``cordboard logs`` imports it at start, so it imports ``pathlib`` (4 ms) only in functions.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

CONFIG_NAME: Final = "cordboard.toml"

CONTROL_SECRET: Final = "BOT_CONTROL_SHARED_SECRET"
CONTROL_SECRET_PREV: Final = "BOT_CONTROL_SHARED_SECRET_PREV"
SESSION_SECRET: Final = "CORDBOARD_SESSION_SECRET"
SESSION_SECRET_PREV: Final = "CORDBOARD_SESSION_SECRET_PREV"
LOGIN_SECRET: Final = "CORDBOARD_INTERFACE_LOGIN_SECRET"
OIDC_SECRET: Final = "CORDBOARD_OIDC_CLIENT_SECRET"
TURN_SECRET: Final = "CORDBOARD_TURN_SECRET"
SCRAPE_SECRET: Final = "CORDBOARD_SCRAPE_SECRET"

SECRET_NAMES: Final = (
    CONTROL_SECRET,
    CONTROL_SECRET_PREV,
    SESSION_SECRET,
    SESSION_SECRET_PREV,
    LOGIN_SECRET,
    OIDC_SECRET,
    TURN_SECRET,
    SCRAPE_SECRET,
)
ICE_SERVERS: Final = ("CORDBOARD_ICE_SERVERS", "PIPECAT_ICE_SERVERS")
"""The variables of ``ice_servers``, which may contain passwords. The first one takes precedence."""

STREAM_GRACE: Final = "CORDBOARD_STREAM_GRACE_S"
"""The variable of ``stream_grace_s``, which ``cordboard up`` sets for its edge."""

SECRET_VARIABLES: Final = (
    *(name + suffix for name in SECRET_NAMES for suffix in ("", "_FILE")),
    "REDIS_URL",
    "REDIS_URL_FILE",
    *ICE_SERVERS,
)
"""Every variable that holds a secret of Cordboard, or the path of one. No bot inherits any of them."""
BOT_VARIABLES: Final = ("REDIS_URL", "PIPECAT_ICE_SERVERS")
"""Variables among them that a bot file, or the ``.env`` beside it, may set for the bot."""
ACCOUNT_VARIABLES: Final = (
    "DAILY_API_KEY",
    "DAILY_API_URL",
    "PINLESS_HMAC_SECRET",
    "LIVEKIT_URL",
    "LIVEKIT_API_KEY",
    "LIVEKIT_API_SECRET",
    "TWILIO_ACCOUNT_SID",
    "TWILIO_AUTH_TOKEN",
    "TELNYX_PUBLIC_KEY",
    "TELNYX_ACCOUNT_SID",
    "TELNYX_APPLICATION_SID",
    "TELNYX_API_KEY",
    "PLIVO_AUTH_ID",
    "PLIVO_AUTH_TOKEN",
    "EXOTEL_ACCOUNT_SID",
    "EXOTEL_API_KEY",
    "EXOTEL_API_TOKEN",
)
"""The accounts at room services and carriers, by the names that Pipecat's examples use in their ``.env``."""
SESSION_SECRETS: Final = tuple(
    name + suffix for name in (SESSION_SECRET, SESSION_SECRET_PREV) for suffix in ("", "_FILE")
)

LOG_DIR: Final = "CORDBOARD_LOG_DIR"
INTERFACE_LOGS: Final = "CORDBOARD_INTERFACE_LOGS"
LOCAL_OPERATOR: Final = "CORDBOARD_INTERFACE_LOCAL_OPERATOR"
LOCAL_LOGS: Final = "local"
GATEWAY_URL: Final = "CORDBOARD_GATEWAY_URL"
DUMPABLE: Final = "CORDBOARD_DUMPABLE"
BOT_ARGUMENTS: Final = "CORDBOARD_BOT_ARGUMENTS"
FAULTS: Final = "CORDBOARD_FAULTS"
PRELOAD_BOTS: Final = "CORDBOARD_PRELOAD_BOTS"
PRELOAD_RUNNER: Final = "CORDBOARD_PRELOAD_RUNNER"
PRELOAD_LANDLOCK: Final = "CORDBOARD_PRELOAD_LANDLOCK"
PRELOAD_ARGUMENTS: Final = "CORDBOARD_PRELOAD_ARGUMENTS"
_PRELOAD: Final = (PRELOAD_BOTS, PRELOAD_RUNNER, PRELOAD_LANDLOCK, PRELOAD_ARGUMENTS)
INTERNAL: Final = (*_PRELOAD, FAULTS)
"""Variables that Cordboard's processes and its tests set for each other; users do not set them."""


# --- files and folders


def config_path(config_file: "str | Path | None") -> "Path | None":
    """Return the path of the settings file; None if there is none.

    Args:
        config_file: The file that the user named; None for ``cordboard.toml`` in the working directory.
    """
    if config_file is not None:
        return _path(os.fspath(config_file))
    return _path(CONFIG_NAME).resolve() if os.path.isfile(CONFIG_NAME) else None


def state_dir() -> "Path":
    """Return ``$XDG_STATE_HOME/cordboard``, by default ``~/.local/state/cordboard``."""
    return _path(_state_folder())


def default_log_folder() -> str:
    """Return the folder of the local log files that applies while ``log_dir`` is unset."""
    return os.path.join(_state_folder(), "logs", "local")


def _state_folder() -> str:
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(base, "cordboard")


def kubeconfig_files() -> "tuple[Path, ...]":
    """Return the existing kubeconfig files: those of ``KUBECONFIG``, else ``~/.kube/config``."""
    names = [name for name in os.environ.get("KUBECONFIG", "").split(os.pathsep) if name]
    names = names or [os.path.expanduser("~/.kube/config")]
    return tuple(_path(name) for name in names if os.path.isfile(name))


def _path(name: str) -> "Path":
    from pathlib import Path

    return Path(name)


# --- the terminal


def is_color_disabled() -> bool:
    """Return whether the user asked for no colors (https://no-color.org)."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def pager_command() -> str | None:
    """Return the user's pager, by default ``less``; None if the user turned it off."""
    command = os.environ.get("PAGER")
    if command is None:
        return "less -FRSX"
    return None if command in {"", "cat"} else command


# --- this process


def runner_identity() -> str | None:
    """Return the name that the cluster gave this process, of its pod or Job; None elsewhere."""
    return os.environ.get("POD_NAME") or job_identity()


def pod_identity() -> str:
    """Return the Kubernetes pod of this process, as NAMESPACE/NAME; empty if it does not know both names."""
    namespace, name = os.environ.get("POD_NAMESPACE"), os.environ.get("POD_NAME")
    return f"{namespace}/{name}" if namespace and name else ""


def job_identity() -> str | None:
    """Return the name under which an operator started this process; None if none did."""
    return os.environ.get("JOB_ID")


def is_inspection_allowed() -> bool:
    """Return whether debuggers and profilers may attach: ``CORDBOARD_DUMPABLE=1``."""
    return os.environ.get(DUMPABLE) == "1"


def unchecked_settings() -> bool:
    """Return whether the environment has variables that ``settings.load`` has to check.

    The variables of secrets, of the log folder and of ``CORDBOARD_DUMPABLE`` hold any text.
    """
    free = {*SECRET_VARIABLES, LOG_DIR, DUMPABLE} - {*ICE_SERVERS}
    return any(name.startswith("CORDBOARD_") and name not in free for name in os.environ)


# --- environments of other processes


def child_environment(**changes: str | None) -> dict[str, str]:
    """Return a copy of this process's environment with changes.

    Args:
        changes: New values by variable; None removes a variable.
    """
    variables = dict(os.environ)
    for name, value in changes.items():
        if value is None:
            variables.pop(name, None)
        else:
            variables[name] = value
    return variables


def clean_environment() -> dict[str, str]:
    """Return a copy of this process's environment without the secrets of Cordboard."""
    return child_environment(**dict.fromkeys(SECRET_VARIABLES))


@contextmanager
def without_secrets() -> Iterator[None]:
    """Remove the secrets from the environment inside the block, so that a new process inherits none."""
    secrets = {name: os.environ.pop(name) for name in SECRET_VARIABLES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(secrets)


def set_bot_arguments(arguments: Sequence[str]) -> None:
    """Set the setting ``bot_arguments`` for the processes that this one starts.

    Args:
        arguments: The arguments of the bot files.
    """
    import shlex

    os.environ[BOT_ARGUMENTS] = shlex.join(arguments)


# --- from a runner to its fork server


def set_preload_environment(
    bots: Mapping[str, str], arguments: Sequence[str] = (), *, landlock: bool
) -> None:
    """Set the variables that a fork server started by this process reads.

    Args:
        bots: The bot files by bot name.
        arguments: The arguments of the bot files.
        landlock: Whether the fork server and its bots are confined by Landlock.
    """
    import json

    os.environ[PRELOAD_BOTS] = json.dumps(dict(bots))
    os.environ[PRELOAD_ARGUMENTS] = json.dumps([*arguments])
    os.environ[PRELOAD_RUNNER] = str(os.getpid())
    os.environ[PRELOAD_LANDLOCK] = "1" if landlock else "0"
    # ONNX Runtime, which detects voices for Pipecat, would report its use to its vendor from each bot.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def preload_bots() -> dict[str, str]:
    """Return the bot files, by bot name, that this fork server loads."""
    import json

    bots: dict[str, str] = json.loads(os.environ.get(PRELOAD_BOTS, "{}"))
    return bots


def preload_arguments() -> tuple[str, ...]:
    """Return the arguments of the bot files."""
    import json

    return tuple(json.loads(os.environ.get(PRELOAD_ARGUMENTS, "[]")))


def preload_landlock() -> bool:
    """Return whether this fork server and its bots are confined by Landlock."""
    return os.environ.get(PRELOAD_LANDLOCK) == "1"


def preload_runner() -> int | None:
    """Return the id of the process that started this fork server; it may have ended since."""
    pid = os.environ.get(PRELOAD_RUNNER)
    return int(pid) if pid else None


def forget_preload_environment() -> None:
    """Remove the variables that ``set_preload_environment`` has set: they are not for bots."""
    for name in _PRELOAD:
        os.environ.pop(name, None)
