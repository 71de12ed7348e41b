"""Reads ``cordboard.toml`` and the environment, and checks every name and value."""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, Final, cast, get_type_hints

import msgspec

from cordboard import faults
from cordboard.contract.call_events import Content
from cordboard.contract.errors import InvalidValueError, SettingsError
from cordboard.contract.ice import (
    IceServer,
    IceTransportPolicy,
    ice_servers_json,
    parse_ice_servers,
)
from cordboard.contract.ids import is_bot_name
from cordboard.contract.redaction import redact
from cordboard.environment import (
    DUMPABLE,
    FAULTS,
    ICE_SERVERS,
    INTERNAL,
    SECRET_NAMES,
    SECRET_VARIABLES,
    config_path,
)
from cordboard.settings.bots import RESTARTS, BotPolicy, Restart
from cordboard.settings.cells import cells_of, check_cell
from cordboard.settings.kinds import AutoOrOff, Limit, PlacementPolicy, Positive, RootPath
from cordboard.settings.model import SECTIONS, Settings
from cordboard.settings.phone import phone_settings
from cordboard.settings.secrets import read_secret
from cordboard.settings.suggestions import nearest

FIELDS: Final[dict[str, Field[Any]]] = {
    item.name: item for section in SECTIONS for item in fields(section)
}
"""Each setting's field by its name, in the order of the documentation."""

_TYPES: Final = get_type_hints(Settings, include_extras=True)
_EXPECTED: Final[dict[Any, str]] = {
    Positive: "a number above 0",
    Limit: "a number, 0 or more",
    tuple[str, ...]: "a list of strings",
    PlacementPolicy: "spread or pack",
    AutoOrOff: "auto or off",
    Content: "off, words or all",
    RootPath: "a path such as /voice, without a slash at its end",
    bool: "true or false",
    bool | None: "true or false",
    IceTransportPolicy: "all or relay",
}
_NUMBERS: Final = (Positive, Limit)
# The spellings of a boolean in a variable. TOML has its own booleans.
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}
_TABLES: Final = ("bots", "cells", "environments", "logs", "phone", "prices")
_SERVICE_LINK: Final = re.compile(
    r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?)"
)
_SERVICE_SCHEMES: Final = ("tcp://", "udp://", "sctp://")
# Prefixes of settings that mean nothing to a runner on another machine.
_MACHINE_PREFIXES: Final = (
    "redis_url",
    "gateway_url",
    "interface_",
    "oidc_",
    "root_",
    "trusted_",
    "log_",
    "public_",
    "allowed_",
    "open_",
    "kubernetes_",
    "tls_",
)


def load(config_file: str | Path | None = None) -> Settings:
    """Return the settings of ``cordboard.toml`` and the environment, which takes precedence.

    Args:
        config_file: The file that the user named; None for ``cordboard.toml`` in the working directory.

    Raises:
        SettingsError: A name is unknown, a value is invalid, or the file cannot be read.
    """
    # Every process of Cordboard loads its settings first, so fault points are armed here.
    faults.arm(os.environ.get(FAULTS, ""))
    path = config_path(config_file)
    table = _read_toml(path) if path else {}
    values = _from_file(table, path)
    from_file = frozenset(values)
    _reject_unknown_variables()
    for name in FIELDS:
        # An empty variable counts as unset, as in shells and manifests.
        source = next((item for item in _variables(name) if os.environ.get(item)), None)
        if source:
            values[name] = _from_text(name, os.environ[source], source)
        elif name == "redis_url" and (url := read_secret(variable(name))):
            values[name] = url
    if "bots" in table:
        values["bots"], values["bot_policies"] = _bots(table["bots"], path)
    if "phone" in table:
        values["phone"] = phone_settings(table["phone"], path)
    values["cells"] = cells_of(table.get("cells", {}), path)
    check_cell(values.get("cell"), values["cells"])
    tables = {name: table[name] for name in ("environments", "logs", "prices") if name in table}
    return Settings(**values, **tables, config_file=path, from_file=from_file)


def variable(name: str) -> str:
    """Return the environment variable of the setting ``name``."""
    return "REDIS_URL" if name == "redis_url" else f"CORDBOARD_{name.upper()}"


def _variables(name: str) -> tuple[str, ...]:
    """Return the environment variables of the setting ``name``; the first one takes precedence."""
    return ICE_SERVERS if name == "ice_servers" else (variable(name),)


def shared_environment(settings: Settings) -> dict[str, str]:
    """Return ``settings`` as the environment of a runner on another machine.

    It contains the settings that differ from their defaults, no secrets, and no settings of this
    machine alone.
    """
    variables = {
        name: os.environ[name] for name in ("LOG_LEVEL", "LOG_FORMAT") if name in os.environ
    }
    for name, item in FIELDS.items():
        value = getattr(settings, name)
        if not name.startswith(_MACHINE_PREFIXES) and value != item.default:
            text = _as_text(name, value)
            if text is not None:
                variables[variable(name)] = text
    return variables


def _as_text(name: str, value: Any) -> str | None:
    """Return the value of a setting as `_from_text` reads it; None if it contains a secret."""
    if name == "ice_servers":
        has_secret = any(server.credential is not None for server in value)
        return None if has_secret else ice_servers_json(value)
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"Cannot read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}.") from error


def _from_file(table: Mapping[str, Any], path: Path | None) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name in _TABLES:
            if not isinstance(value, dict):
                raise SettingsError(f"{path}: {name} is a table: write [{name}].")
            continue
        secret = _secret_named(name)
        if secret:
            raise SettingsError(
                f"{path}: {name} is a secret and does not belong in this file.",
                hint=f"Set {secret} or {secret}_FILE in the environment.",
            )
        if name not in FIELDS:
            raise SettingsError(
                f"{path}: {name}: unknown setting.{nearest(name, [*FIELDS, *_TABLES])}"
            )
        values[name] = _converted(name, value, where=f"{path}: {name}")
    return values


def _secret_named(name: str) -> str | None:
    """Return the variable of the secret that ``name`` means, in a file; None if it means none."""
    return next(
        (secret for secret in SECRET_NAMES if secret in {name.upper(), variable(name)}), None
    )


def _from_text(name: str, text: str, source: str) -> Any:
    """Return the value of a variable: lists are separated by commas, numbers have digits only."""
    value: object = text
    if _TYPES[name] in {bool, bool | None}:
        value = _BOOLEANS.get(text.lower(), text)
    elif _TYPES[name] in _NUMBERS and text.isascii() and text.isdigit():
        value = int(text)
    elif _TYPES[name] == tuple[str, ...]:
        value = tuple(part.strip() for part in text.split(",") if part.strip())
    return _converted(name, value, where=f"{source} ({name})")


def _converted(name: str, value: object, *, where: str) -> Any:
    """Return the value as the setting's type, without any conversion between texts and numbers."""
    kind = _TYPES[name]
    if kind == tuple[IceServer, ...]:
        return _ice_servers(value, where)
    # msgspec would name only the JSON types; the messages of settings say which values are valid.
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        expected = _EXPECTED.get(kind, "a string")
        shown = redact(repr(value))  # the value may be a URL with a password
        raise SettingsError(f"{where}: expected {expected}, got {shown}.") from error


def _ice_servers(value: object, where: str) -> tuple[IceServer, ...]:
    try:
        return parse_ice_servers(value)
    except InvalidValueError as error:
        raise SettingsError(f"{where}: {error.message}", hint=error.hint) from error


def _bots(
    table: Mapping[str, object], path: Path | None
) -> tuple[dict[str, str], dict[str, BotPolicy]]:
    """Return the file and the policy of each bot in the table ``[bots]``."""
    folder = path.parent if path else Path()
    files: dict[str, str] = {}
    policies: dict[str, BotPolicy] = {}
    for name, value in table.items():
        if not is_bot_name(name):
            raise SettingsError(
                f"{path}: [bots] {name!r}: invalid bot name.",
                hint="Use 1 to 64 of A-Z a-z 0-9 . _ -",
            )
        entry = {"file": value} if not isinstance(value, Mapping) else dict(value)
        file = entry.pop("file", None)
        if not isinstance(file, str):
            raise SettingsError(f"{path}: [bots] {name}: expected a file name, got {file!r}.")
        files[name] = str(folder / file)
        policies[name] = _bot_policy(entry, f"{path}: [bots.{name}]")
    return files, policies


def _bot_policy(entry: Mapping[str, object], where: str) -> BotPolicy:
    known = [item.name for item in fields(BotPolicy)]
    for name in entry:
        if name not in known:
            raise SettingsError(f"{where} {name}: unknown key.{nearest(name, ['file', *known])}")
    restart = entry.get("restart", BotPolicy().restart)
    if restart not in RESTARTS:
        expected = " or ".join(repr(item) for item in RESTARTS)
        raise SettingsError(f"{where} restart: expected {expected}, got {restart!r}.")
    keep_context = entry.get("keep_context", BotPolicy().keep_context)
    if not isinstance(keep_context, bool):
        raise SettingsError(f"{where} keep_context: expected true or false, got {keep_context!r}.")
    return BotPolicy(restart=cast("Restart", restart), keep_context=keep_context)


def _reject_unknown_variables() -> None:
    known = [*map(variable, FIELDS), *SECRET_VARIABLES, DUMPABLE]
    for name in os.environ:
        if not name.startswith("CORDBOARD_") or name in {*known, *INTERNAL}:
            continue
        if not _is_service_link(name, os.environ[name]):
            raise SettingsError(f"Environment: {name}: unknown setting.{nearest(name, known)}")


def _is_service_link(name: str, value: str) -> bool:
    """Return whether Kubernetes has made a variable for a Service ``cordboard...`` of the pod's namespace.

    Source: kubernetes.io/docs/concepts/services-networking/service, "Environment variables".
    """
    # A person may have meant the form NAME_PORT as a setting, so its value decides.
    is_address = name.endswith("_PORT") and value.startswith(_SERVICE_SCHEMES)
    return is_address or _SERVICE_LINK.fullmatch(name) is not None
