"""What runs in a session: hashes of the bot file and of its package, versions, and the image (docs/contract/redis.md)."""

import hashlib
import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

HASH_CHARS: Final = 12

FILES_MAX: Final = 500
"""Files of a package. A folder with more is hardly one of a bot, and its hash would delay the start."""

BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes of a package's files, for the same reason."""

_OTHERS: Final = frozenset({"node_modules", "site-packages", "venv"})


def bot_build(file: str) -> dict[str, str]:
    """Return the build of a bot file, as it is now on the disk: what is not known is absent.

    Args:
        file: The path of the bot file.
    """
    path = Path(file).resolve()
    found = {
        "bot": _hash_of([path], path.parent),
        "package": _hash_of([*_package(path)], path.parent),
        "pipecat": _version("pipecat-ai"),
    }
    return {name: value for name, value in found.items() if value is not None}


def runner_build(image: str) -> dict[str, str]:
    """Return the part of the build that a runner knows.

    Args:
        image: The digest of its image; empty if it is not known.
    """
    found = {"cordboard": _version("cordboard"), "image": image or None}
    return {name: value for name, value in found.items() if value is not None}


def _package(file: Path) -> Iterator[Path]:
    """Yield the Python files beside a bot file; those of the folders below as well if it belongs to a package."""
    is_package = (file.parent / "__init__.py").is_file()
    for folder, folders, names in os.walk(file.parent):
        folders[:] = sorted(
            name for name in folders if is_package and name[0] != "." and name not in _OTHERS
        )
        yield from (Path(folder, name) for name in sorted(names) if name.endswith(".py"))


def _hash_of(files: list[Path], root: Path) -> str | None:
    """Return the hash of files with their names; None if they cannot be read, or are too many."""
    if len(files) > FILES_MAX:
        return None
    digest = hashlib.sha256()
    total = 0
    try:
        for file in files:
            total += file.stat().st_size
            if total > BYTES_MAX:
                return None
            content = file.read_bytes()
            digest.update(f"{file.relative_to(root)}\0{len(content)}\0".encode())
            digest.update(content)
    except OSError:
        return None
    return digest.hexdigest()[:HASH_CHARS]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
