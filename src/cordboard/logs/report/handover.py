"""Raw lines for somebody else: a file for each source, in a folder or in an archive."""

import json
import os
import platform
import re
import sys
import zipfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any, Final

from cordboard.logs.coverage import Coverage
from cordboard.logs.report.clean import clean_record

BUFFERED_MAX_BYTES: Final = 8 * 1024 * 1024
NAME_MAX_CHARS: Final = 200
_PACKED: Final = frozenset({".gz", ".zst", ".bz2", ".xz"})
_CONTAINER_PARTS: Final = 3
_OURS: Final = ("cordboard", "msgspec", "stringzilla", "lightkube")


def file_name(source: str) -> str:
    """Return the name under which a source's lines are kept.

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
        folder: Where the files go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()
        self._waiting: dict[str, list[bytes]] = {}
        self._bytes = 0

    def add(self, source: str, raw: bytes) -> None:
        """Take one line of a source."""
        name = self._names.get(source) or self._named(source)
        self._waiting.setdefault(name, []).append(raw)
        self._bytes += len(raw) + 1
        if self._bytes >= BUFFERED_MAX_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what has gathered."""
        for name, lines in self._waiting.items():
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            with os.fdopen(os.open(self._folder / name, flags, 0o600), "ab") as file:
                file.writelines(line + b"\n" for line in lines)
        self._waiting.clear()
        self._bytes = 0

    def _named(self, source: str) -> str:
        wanted = file_name(source)
        name, number = wanted, 2
        while name.lower() in self._taken:
            name = f"{wanted.removesuffix('.jsonl')}-{number}.jsonl"
            number += 1
        self._taken.add(name.lower())
        self._names[source] = name
        return name


def coverage_json(coverage: Coverage) -> bytes:
    """Return a coverage as JSON for people and programs."""
    return _json({"complete": coverage.complete, **clean_record(coverage.as_dict())})


def versions_json() -> bytes:
    """Return which programs made a bundle."""
    found = {name: _version(name) for name in _OURS}
    return _json({**found, "python": sys.version.split()[0], "platform": platform.platform()})


def pack(archive: Any, contents: Mapping[str, bytes], folder: Path, under: str) -> None:
    """Write a zip archive: small contents, and the files of a folder.

    Args:
        archive: An open file.
        contents: Bytes by their name in the archive.
        folder: Whose files go into the archive as well.
        under: The name of that folder in the archive.
    """
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in contents.items():
            packed.writestr(name, data)
        for path in sorted(folder.iterdir()):
            packed.write(path, f"{under}/{path.name}")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"
