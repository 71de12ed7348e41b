"""Where the lines of the session pages come from."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from cordboard.contract.errors import CordboardError, SettingsError
from cordboard.environment import kubeconfig_files
from cordboard.interface.plain_words import Tone
from cordboard.logs import environments
from cordboard.logs.sources.directory import Directory

if TYPE_CHECKING:
    from cordboard.logs.sources import Source
    from cordboard.settings import Settings

LOCAL: Final = environments.LOCAL


@dataclass(frozen=True, slots=True)
class LogEnvironment:
    """The environment of `cordboard logs` that the pages read.

    Attributes:
        name: Its name; empty if the pages show no lines.
        settings: The settings, which describe it.
    """

    name: str
    settings: "Settings"

    @property
    def option(self) -> str:
        """Return the option of `cordboard logs` that names it; empty without one."""
        if not self.name:
            return ""
        return "--local" if self.name == LOCAL else f"--env {self.name}"

    def command(self, session_id: str) -> str:
        """Return the command that prints the lines of a session."""
        return f"cordboard logs {self.option} --session {session_id}"

    def open(self) -> "list[Source]":
        """Return its sources.

        Raises:
            CordboardError: There is no such environment, or it is not described well.
        """
        known = self.settings.environments
        if self.name == LOCAL and LOCAL not in known:
            return [Directory(self.settings.log_folder)]
        config = self.settings.config_file
        base = config.parent if config else Path()
        return environments.sources_of(self.name, known, base, kubeconfig_files())


State = Literal["readable", "unreadable", "not checked"]
NOT_CHECKED: Final[State] = "not checked"
_TONES: Final[dict[State, Tone]] = {"readable": "ok", "unreadable": "bad", NOT_CHECKED: "warn"}


@dataclass(frozen=True, slots=True)
class SourceState:
    """A log source as the health page shows it.

    Attributes:
        name: Its name.
        state: Whether it can be read.
        words: What is known about it.
    """

    name: str
    state: State
    words: str

    @property
    def tone(self) -> Tone:
        """How the page marks it."""
        return _TONES[self.state]


def check_environment(environment: LogEnvironment) -> None:
    """Refuse an `environment` that does not exist.

    Raises:
        SettingsError: ``interface_logs`` names no environment.
    """
    name = environment.name
    if name and name != LOCAL and name not in environment.settings.environments:
        raise SettingsError(
            f"interface_logs: expected an environment of cordboard.toml, got {name!r}.",
            hint=f"Add [[environments.{name}]], or set interface_logs to local.",
        )


def log_sources(environment: LogEnvironment) -> list[SourceState]:
    """Return the sources of `environment`, from which the pages' lines come; it may wait for the disk.

    Folders are looked at; no other source is asked (``check_sources``).
    """
    if not environment.name:
        return []
    try:
        sources = environment.open()
    except CordboardError as error:
        words = f"{error.message} {error.hint}".rstrip()
        return [SourceState(f"environment {environment.name}", "unreadable", words)]
    states = [_state(source) for source in sources]
    for source in sources:
        source.close()
    return states


def check_sources(environment: LogEnvironment) -> Iterator[SourceState]:
    """Ask each source of `environment` that is not a folder; yield its state.

    Raises:
        CordboardError: The environment is not described well.
    """
    from cordboard.logs.source_check import check_source

    for source in environment.open():
        if isinstance(source, Directory):
            source.close()
            continue
        found = check_source(source)
        words = f"{found.message}. {found.hint}".rstrip()
        yield SourceState(found.name, "readable" if found.ok else "unreadable", words)


def _state(source: "Source") -> SourceState:
    if not isinstance(source, Directory):
        return SourceState(source.name, NOT_CHECKED, "It is being asked.")
    if not Path(source.name).is_dir():
        return SourceState(source.name, "unreadable", "The folder does not exist.")
    if not os.access(source.name, os.R_OK | os.X_OK):
        return SourceState(source.name, "unreadable", "This user may not read it.")
    files = _files(source.name)
    total = sum(size for _, size in files)
    return SourceState(source.name, "readable", f"{len(files)} files, {total / 1e6:,.1f} MB.")


def _files(folder: str) -> Sequence[tuple[str, int]]:
    with os.scandir(folder) as entries:
        return [(entry.name, entry.stat().st_size) for entry in entries if entry.is_file()]
