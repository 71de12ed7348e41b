"""The lines of all parts: each into the file of its writer, and all to the output of `up`."""

import sys
from typing import Any, Final

from cordboard.contract.errors import CordboardError
from cordboard.contract.record import PLANE_SERVICES
from cordboard.emit import forward_line
from cordboard.emit.pipeline import pipeline
from cordboard.settings import Settings
from cordboard.up.log_files import LogFile

PARTS: Final = ("interface", "gateway", "runner", "operator")
# The service whose lines a part writes besides its own and those of bots.
_HANDS_ON: Final = {"interface": frozenset({"browser"}), "operator": frozenset({"runner"})}


class Lines:
    """The log files, open as long as `up` runs.

    Lines of browsers have a file of their own: strangers write them, and their lines must not
    push the interface's own lines out of the files that are kept.

    Raises:
        CordboardError: The log directory cannot be written.
    """

    def __init__(self, settings: Settings) -> None:
        self._files: dict[str, LogFile] = {}
        self._speaker = "up"
        self._unwritten: dict[str, int] = {}
        self._open(settings)
        pipeline.add_observer(self._file_line)

    def close(self) -> None:
        """Close the files."""
        pipeline.remove_observer(self._file_line)
        for file in self._files.values():
            file.close()

    def speak(self, part: str, line: bytes) -> None:
        """Write a part's line to its file and to the output of `up`."""

        def accept(record: dict[str, Any]) -> dict[str, Any] | None:
            service = record["service"]
            if service in PLANE_SERVICES - {part} - _HANDS_ON.get(part, frozenset()):
                return None
            if service == "browser":
                self._speaker = "browser"
            return record

        self._speaker = part
        try:
            forward_line(line, service=part, accept=accept)
        finally:
            self._speaker = "up"

    def write(self, speaker: str, line: bytes) -> None:
        """Write a line into a file; report once when that fails, and once when it works again."""
        try:
            self._files[speaker].write(line)
        except OSError as error:
            if speaker not in self._unwritten:
                sys.stderr.write(
                    f"cordboard up: cannot write the log of {speaker}: {error.strerror}. "
                    "Its lines are shown here only, until that has been put right.\n"
                )
            self._unwritten[speaker] = self._unwritten.get(speaker, 0) + 1
        else:
            if lost := self._unwritten.pop(speaker, 0):
                sys.stderr.write(
                    f"cordboard up: the log of {speaker} is written again; {lost} lines are "
                    "missing in it.\n"
                )

    def _file_line(self, line: bytes) -> None:
        self.write(self._speaker, line)

    def _open(self, settings: Settings) -> None:
        directory = settings.log_path
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name in ("up", *PARTS, "browser", *(() if settings.redis_url else ("redis",))):
                self._files[name] = LogFile(
                    directory / f"{name}.jsonl",
                    max_mb=settings.log_file_max_mb,
                    kept=settings.log_files_kept,
                )
        except OSError as error:
            raise CordboardError(
                f"Cannot write into the log directory {directory}: {error.strerror}.",
                hint="Set another one with CORDBOARD_LOG_DIR.",
            ) from error
