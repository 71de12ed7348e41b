"""The log files that ``cordboard up`` writes: whole lines, bounded by rotation."""

import errno
import os
from pathlib import Path


class LogFile:
    """The log file of one component, rotated to ``NAME.1.jsonl`` and so on when it is full.

    Args:
        path: The file.
        max_bytes: The size after which it is rotated. A longer line gets a file of its own.
        kept: How many rotated files are kept; older ones are deleted.
    """

    def __init__(self, path: Path, *, max_bytes: int, kept: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._kept = kept
        self._open()

    def write(self, line: bytes) -> None:
        """Append `line`; it is in the file when this returns, so that readers see it at once.

        Raises:
            OSError: The line cannot be written; no part of it is in the file.
        """
        if self._size + len(line) > self._max_bytes and self._size:
            self._rotate()
        written = os.write(self._fd, line)
        if written < len(line):
            os.ftruncate(self._fd, self._size)  # a partial line would spoil the next one
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += written

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _open(self) -> None:
        # Readable by this user only: lines contain names of users and rooms.
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._fd).st_size

    def _rotate(self) -> None:
        full_fd = self._fd
        self._numbered(self._kept).unlink(missing_ok=True)
        for number in range(self._kept - 1, 0, -1):
            if self._numbered(number).exists():
                self._numbered(number).rename(self._numbered(number + 1))
        self.path.rename(self._numbered(1))
        self._open()
        os.close(full_fd)  # last: if an earlier step fails, the full file is written further

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.stem}.{number}{self.path.suffix}")
