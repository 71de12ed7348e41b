"""The lines of all components: each in the file of its writer, and all in the output of ``up``."""

import sys
from typing import Any, Final

from cordboard.contract.errors import CordboardError
from cordboard.contract.record import PLANE_SERVICES
from cordboard.emit import forward_line
from cordboard.emit.pipeline import pipeline
from cordboard.settings import Settings
from cordboard.up.log_files import LogFile

COMPONENTS: Final = ("edge", "interface", "gateway", "runner", "operator")
# Services whose lines a component passes on: browsers send theirs to the interface, and an operator
# reads those of the cold runners that it starts.
_FORWARDED_SERVICES: Final = {
    "interface": frozenset({"browser"}),
    "operator": frozenset({"runner"}),
}
_MEGABYTE: Final = 1024 * 1024


class ComponentLogs:
    """The log files, open while ``up`` runs.

    Lines of browsers have a file of their own: anyone may write them, and they must not push the
    interface's own lines out of the files that are kept.

    Args:
        settings: The settings of the log directory and its files.

    Raises:
        CordboardError: The log directory cannot be written.
    """

    def __init__(self, settings: Settings) -> None:
        self._files: dict[str, LogFile] = {}
        # The file of the line that is written now; lines of `up` itself come between others.
        self._current_file = "up"
        self._lost_lines: dict[str, int] = {}
        self._open(settings)
        pipeline.add_observer(self._write_current)

    def close(self) -> None:
        """Close the files."""
        pipeline.remove_observer(self._write_current)
        for file in self._files.values():
            file.close()

    def write_component_line(self, component: str, line: bytes) -> None:
        """Write a line of a component to its file and to the output of ``up``.

        A line in the name of a service that the component is not, and does not pass on, becomes a
        raw line of the component.

        Args:
            component: The name of the component.
            line: One line of its output.
        """

        def accept(record: dict[str, Any]) -> dict[str, Any] | None:
            service = record["service"]
            forwarded = _FORWARDED_SERVICES.get(component, frozenset())
            if service in PLANE_SERVICES - {component} - forwarded:
                return None
            if service == "browser":
                self._current_file = "browser"
            return record

        self._current_file = component
        try:
            forward_line(line, service=component, accept=accept)
        finally:
            self._current_file = "up"

    def write(self, name: str, line: bytes) -> None:
        """Write a line to a file; report once if that fails, and once if it works again.

        Args:
            name: The name of the file, without its suffix.
            line: The line, with its newline.
        """
        try:
            self._files[name].write(line)
        except OSError as error:
            if name not in self._lost_lines:
                # To stderr, not to a logger: its line would come here again.
                sys.stderr.write(
                    f"cordboard up: cannot write the log file of {name}: {error.strerror}. "
                    "Until this is fixed, its lines appear in this output only.\n"
                )
            self._lost_lines[name] = self._lost_lines.get(name, 0) + 1
        else:
            if lost := self._lost_lines.pop(name, 0):
                sys.stderr.write(
                    f"cordboard up: writing the log file of {name} works again; "
                    f"{lost} lines are missing in it.\n"
                )

    def _write_current(self, line: bytes) -> None:
        self.write(self._current_file, line)

    def _open(self, settings: Settings) -> None:
        directory = settings.log_path
        embedded = () if settings.redis_url else ("redis",)
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name in ("up", *COMPONENTS, "browser", *embedded):
                self._files[name] = LogFile(
                    directory / f"{name}.jsonl",
                    max_bytes=settings.log_file_max_mb * _MEGABYTE,
                    kept=settings.log_files_kept,
                )
        except OSError as error:
            raise CordboardError(
                f"Cannot write to the log directory {directory}: {error.strerror}.",
                hint="Set another one with CORDBOARD_LOG_DIR.",
            ) from error
