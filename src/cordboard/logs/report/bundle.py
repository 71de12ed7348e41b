"""Writes what a report leaves behind: whole or not at all, for its owner's eyes, in clear words.

A collection and a bundle hold raw lines: a file for each source, in a folder or in an archive.
"""

import contextlib
import errno
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final, cast

from cordboard.contract.errors import CordboardError
from cordboard.logs.coverage import Coverage
from cordboard.logs.line import Line
from cordboard.logs.report.entry import clean_record

REPORT_SUFFIXES: Final = (".html", ".txt")
BUFFERED_MAX_BYTES: Final = 8 * 1024 * 1024  # gathered before files are opened to append
NAME_MAX_CHARS: Final = 200  # file systems take 255 bytes, of which a number may need some
_PACKED: Final = frozenset({".gz", ".zst", ".bz2", ".xz"})
_CONTAINER_PARTS: Final = 3  # namespace, pod, container
_OURS: Final = ("cordboard", "msgspec", "stringzilla", "lightkube")
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NOT_ALLOWED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_EXISTS: Final = frozenset({errno.EEXIST, errno.ENOTEMPTY})


@contextlib.contextmanager
def written(path: Path, *, new: bool = False) -> Iterator[BinaryIO]:
    """Give a file that becomes ``path`` when the block ends well, and is gone otherwise.

    Args:
        path: Its name.
        new: Refuse to replace what has come there meanwhile.

    Raises:
        CordboardError: It cannot be written, in words.
    """
    with _in_words(path):
        descriptor, name = tempfile.mkstemp(".part", f".{path.name[:100]}.", path.parent)
        try:
            with os.fdopen(descriptor, "w+b") as file:
                yield cast("BinaryIO", file)
            if new:
                _move_new(name, path)
            else:
                os.replace(name, path)  # noqa: PTH105 - beside os.link
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)  # noqa: PTH108 - beside os.link


def write(path: Path, pieces: Iterable[str]) -> None:
    """Write `pieces` of a text to `path`, whole or not at all."""
    with written(path) as file:
        file.writelines(piece.encode() for piece in pieces)


@contextlib.contextmanager
def filled(path: Path) -> Iterator[Path]:
    """Give a folder that becomes ``path`` when the block ends well, and is gone otherwise.

    Raises:
        CordboardError: It cannot be made, or something is there, in words.
    """
    with _in_words(path), scratch(path) as folder:
        yield folder
        folder.rename(path)


@contextlib.contextmanager
def scratch(beside: Path) -> Iterator[Path]:
    """Give a private folder beside ``beside``, gone afterwards if it is still there."""
    above = beside.absolute().parent
    with _in_words(beside):
        above.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(".part", f".{beside.name[:100]}.", above))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move_new(name: str, path: Path) -> None:
    try:
        os.link(name, path)  # the one call that moves and never replaces
    except OSError as error:
        if error.errno in _EXISTS or os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, "exists", str(path)) from error
        os.rename(name, path)  # noqa: PTH104 - a file system without links


@contextlib.contextmanager
def _in_words(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why, hint = error.strerror or str(error), ""
        if error.errno in _EXISTS:
            said = f"{path} already exists and is never overwritten."
            raise CordboardError(said, hint="Choose another name.") from error
        if error.errno in _NO_SPACE:
            why = "not enough space"
            hint = "The incomplete output was removed. Choose a place with more space."
        elif error.errno in _NOT_ALLOWED:
            why = "permission denied"
        raise CordboardError(f"Cannot write {path}: {why}.", hint=hint) from error


# --- collections and bundles


def file_name(source: str) -> str:
    """Return the name under which the lines of `source` are kept.

    ``namespace/pod/container`` becomes ``namespace-pod-container.jsonl``, with ``-previous`` where
    ``(previous)`` stands behind it; a file keeps its name, without the ending of its compression.
    """
    name, _, kind = source.removesuffix(")").partition(" (")
    path = PurePosixPath(name)
    parts = [part for part in name.split("/") if part]
    if not name.startswith("/") and "." not in path.name and len(parts) == _CONTAINER_PARTS:
        stem = "-".join([*parts, *([kind] if kind == "previous" else [])])
    else:
        stem = (path.stem if path.suffix in _PACKED else path.name).removesuffix(".jsonl")
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", stem).lstrip(".")[:NAME_MAX_CHARS]
    return f"{safe or 'lines'}.jsonl"


class Spread:
    """Spreads lines over one file a source; opens each only to append what has gathered.

    Args:
        folder: Where the files go; it is made if it is not there.
        form: What is kept of a line.
    """

    def __init__(self, folder: Path, form: Callable[[Line], bytes]) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self.folder = folder
        self._form = form
        self._names: dict[str, str] = {}
        self._waiting: dict[str, list[bytes]] = {}
        self._bytes = 0

    def add(self, line: Line) -> None:
        """Take `line`."""
        name = self._names.get(line.source) or self._named(line.source)
        raw = self._form(line) + b"\n"
        self._waiting.setdefault(name, []).append(raw)
        self._bytes += len(raw)
        if self._bytes >= BUFFERED_MAX_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what has gathered."""
        for name, lines in self._waiting.items():
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            with os.fdopen(os.open(self.folder / name, flags, 0o600), "ab") as file:
                file.writelines(lines)
        self._waiting.clear()
        self._bytes = 0

    def _named(self, source: str) -> str:
        """Return a name that no other source has, in capitals or not."""
        stem = file_name(source).removesuffix(".jsonl")
        taken = {name.lower() for name in self._names.values()}
        names = (f"{stem}{end}.jsonl" for end in ("", *(f"-{n}" for n in range(2, len(taken) + 2))))
        self._names[source] = next(name for name in names if name.lower() not in taken)
        return self._names[source]


def coverage_json(coverage: Coverage) -> str:
    """Return `coverage` as JSON for people and programs."""
    return _json({"complete": coverage.complete, **clean_record(coverage.as_dict())})


def versions_json() -> str:
    """Return which programs made a bundle."""
    found: dict[str, str | None] = dict.fromkeys(_OURS)
    for name in _OURS:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return _json({**found, "python": sys.version.split()[0], "platform": platform.platform()})


def pack(archive: BinaryIO, folder: Path) -> None:
    """Write a zip archive of all files of `folder` to `archive`."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                packed.write(path, path.relative_to(folder))


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"
