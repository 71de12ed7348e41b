"""Reads the settings of the logger and of its export to OpenTelemetry from an environment."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

CELL: Final = "CORDBOARD_CELL"
"""The variable of the setting ``cell``. Components set it for the processes that they start."""

# Host names that do not identify a machine.
_NO_MACHINE: Final = re.compile(r"0\.0\.0\.0|localhost")
_NOT_IN_SESSION_ID: Final = re.compile(r"[^A-Za-z0-9._~:@-]")
# A session id has at most 128 characters, of which ``server:`` takes 7.
_MACHINE_MAX_CHARS: Final = 121


@dataclass(frozen=True, slots=True)
class LogEnvironment:
    """The settings of the logger in the environment; an empty variable counts as absent.

    Attributes:
        level: The value of ``LOG_LEVEL``, unchecked.
        format: The value of ``LOG_FORMAT``, unchecked.
        machine: ``POD_NAME``, else ``JOB_ID``, else the name of the host, else ``server``;
            characters that a session id cannot contain are replaced by ``-``.
        cell: The value of ``CORDBOARD_CELL``, unchecked.
        color: Whether a terminal may get colours, by ``NO_COLOR`` and ``TERM``.
    """

    level: str | None
    format: str | None
    machine: str
    cell: str | None
    color: bool


@dataclass(frozen=True, slots=True)
class OtlpEnvironment:
    """The settings of the export to OpenTelemetry in the environment.

    Attributes:
        endpoint: The URL for logs.
        headers: Pairs ``name=value`` with commas between them, percent-encoded; they may contain a
            secret.
    """

    endpoint: str
    headers: str


def log_environment(environment: Mapping[str, str] | None = None) -> LogEnvironment:
    """Read the settings of the logger from an environment.

    Args:
        environment: The environment; by default that of this process.
    """
    source = os.environ if environment is None else environment
    names = (source.get("POD_NAME"), source.get("JOB_ID"), os.uname().nodename)
    stripped = (name.strip() for name in names if name)
    machines = (name for name in stripped if name and not _NO_MACHINE.fullmatch(name))
    return LogEnvironment(
        level=source.get("LOG_LEVEL", "").strip() or None,
        format=source.get("LOG_FORMAT", "").strip() or None,
        machine=_machine_id(next(machines, "server")),
        cell=source.get(CELL, "").strip() or None,
        color=not source.get("NO_COLOR") and source.get("TERM") != "dumb",
    )


def otlp_environment(environment: Mapping[str, str] | None = None) -> OtlpEnvironment:
    """Read the settings of the export from the variables that OpenTelemetry specifies.

    Args:
        environment: The environment; by default that of this process.
    """
    source = os.environ if environment is None else environment
    # Port 4318 and the path are defaults of the OTLP specification.
    base = source.get("OTEL_EXPORTER_OTLP_ENDPOINT") or "http://localhost:4318"
    headers = source.get("OTEL_EXPORTER_OTLP_LOGS_HEADERS")
    return OtlpEnvironment(
        endpoint=source.get("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT") or f"{base.rstrip('/')}/v1/logs",
        headers=headers or source.get("OTEL_EXPORTER_OTLP_HEADERS", ""),
    )


def _machine_id(name: str) -> str:
    return _NOT_IN_SESSION_ID.sub("-", name[:_MACHINE_MAX_CHARS])
