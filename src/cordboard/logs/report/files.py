"""Writes what a report leaves behind: whole or not at all, for its owner's eyes, in clear words."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, cast

from cordboard.contract.errors import CordboardError, UsageError

REPORT_SUFFIXES: Final = (".html", ".txt")
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NOT_ALLOWED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_EXISTS: Final = frozenset({errno.EEXIST, errno.ENOTEMPTY})


def check_report_path(path: Path) -> Path:
    """Return where a report goes; nothing has been read yet.

    Raises:
        UsageError: It cannot be written there, or its form is none of ours.
    """
    if path.suffix.lower() not in REPORT_SUFFIXES:
        raise UsageError(
            f"--report {path}: expected a name that ends in .html or .txt.",
            hint="The suffix selects the format: --report call.html or --report call.txt",
        )
    return _check_file("--report", path)


def check_bundle_path(path: Path) -> Path:
    """Return where a bundle goes: a new file.

    Raises:
        UsageError: It cannot be written there, or exists.
    """
    if path.suffix.lower() != ".zip":
        raise UsageError(
            f"--bundle {path}: expected a name that ends in .zip.", hint="Use --bundle call.zip"
        )
    if os.path.lexists(path):
        raise UsageError(
            f"--bundle {path}: already exists, and bundles are never overwritten.",
            hint=f"Choose another name, or remove it first: rm {path}",
        )
    return _check_file("--bundle", path)


def check_collect_path(path: Path) -> Path:
    """Return where a collection goes: a new folder, or an empty one.

    Raises:
        UsageError: There is something already, or it cannot be made there.
    """
    if os.path.lexists(path) and not (_is_folder(path) and not _has_content(path)):
        raise UsageError(
            f"--collect {path}: already exists, and collections are never overwritten.",
            hint="Choose a directory that does not exist yet.",
        )
    above = next((item for item in path.absolute().parents if _is_there(item)), Path("/"))
    _check_folder("--collect", path, above)
    return path


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - what stands in a closed folder is no error


def _is_there(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - as above


def _has_content(path: Path) -> bool:
    with _in_words(path), os.scandir(path) as entries:
        return next(entries, None) is not None


def _check_file(option: str, path: Path) -> Path:
    if _is_folder(path):
        raise UsageError(f"{option} {path}: expected a file, got a directory.")
    _check_folder(option, path, path.absolute().parent)
    return path


def _check_folder(option: str, path: Path, folder: Path) -> None:
    if not _is_folder(folder):
        raise UsageError(
            f"{option} {path}: {folder} is not a directory.", hint=f"Create it: mkdir -p {folder}"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{option} {path}: this user cannot write to {folder}.")


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
    with _in_words(beside):
        beside.absolute().parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(".part", f".{beside.name[:100]}.", beside.absolute().parent))
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
        raise _error(path, error) from error


def _error(path: Path, error: OSError) -> CordboardError:
    if error.errno in _NO_SPACE:
        return CordboardError(
            f"Cannot write {path}: not enough space.",
            hint="The incomplete output was removed. Choose a place with more space.",
        )
    if error.errno in _NOT_ALLOWED:
        return CordboardError(f"Cannot write {path}: permission denied.")
    if error.errno in _EXISTS:
        return CordboardError(
            f"{path} already exists and is never overwritten.", hint="Choose another name."
        )
    return CordboardError(f"Cannot write {path}: {error.strerror or error}.")
