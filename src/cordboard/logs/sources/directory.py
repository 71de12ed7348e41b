"""A directory of files as real systems leave them: the first source, and the fastest.

Its files are opened when they are listed, so that one that is renamed or deleted meanwhile is read
to its end; what appears while the listing is made (a rotation) is listed again.
"""

import os
import resource
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from cordboard.contract.errors import NotFoundError, SettingsError
from cordboard.logs.blocks import ByteReader, FileByteReader
from cordboard.logs.coverage import Answer, Shortfall
from cordboard.logs.formats.packed import MAGIC_BYTES, PackedByteReader, is_packed
from cordboard.logs.patterns import pattern
from cordboard.logs.query import Query
from cordboard.logs.sources import Source, Stream
from cordboard.logs.sources._options import checked
from cordboard.logs.timespec import timestamp

UP: Final = "up"
UP_PARTS: Final = ("gateway", "operator", "runner", "interface")
"""The files that `cordboard up` writes, whatever happens."""

_LISTINGS_MAX: Final = 10
_HEAD_BYTES: Final = 4096
_CHUNK_BYTES: Final = 1 << 20
_CONTROLS: Final = pattern(rb"[\x01-\x06\x0e-\x1a\x1c-\x1f]")
_ZEROS: Final = pattern(rb"\0+")
_HOLES_APART: Final = 64  # a zero in each line of usual length is damage; more is another encoding


class File(Stream):
    """One file, open.

    Args:
        path: Where it was found.
        fd: Its descriptor.

    Attributes:
        name: The path in valid text.
        modified: When it was last written.
        is_text: Whether it consists of lines.
    """

    kind = "file"

    def __init__(self, path: str, fd: int) -> None:
        self.name = readable(path)
        self.fd = fd
        self.status = os.fstat(fd)
        self.modified = timestamp(datetime.fromtimestamp(self.status.st_mtime, UTC)).encode()
        head = os.pread(fd, _HEAD_BYTES, 0)
        packed = is_packed(head)
        self.is_text = packed or not _is_binary(head)
        self.byte_reader: ByteReader = (
            PackedByteReader(fd, head[:MAGIC_BYTES])
            if packed
            else FileByteReader(fd, self.status.st_size)
        )

    @property
    def identity(self) -> tuple[int, int]:
        """What stays when it is renamed."""
        return self.status.st_dev, self.status.st_ino

    def read(self, *, follow: bool = False) -> Iterator[bytes]:  # noqa: ARG002 - files are followed by their names
        """Yield all of its bytes, decompressed; `follow` changes nothing, as files are followed by their names."""
        at = 0
        while data := self.byte_reader.read(at, _CHUNK_BYTES):
            yield data
            at += len(data)

    def shortfalls(self) -> Sequence[Shortfall]:
        """Return why less was read than there is."""
        return () if self.byte_reader.damage is None else (self.byte_reader.damage,)

    def close(self) -> None:
        """Close it, once."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Directory(Source):
    """Every regular file below a path, or the one file that it names.

    Args:
        path: The directory or file.
        hint: What to do where it does not exist.

    Attributes:
        confined: Links that lead out of the directory are left out, and named.
        hidden: How many files were left out because their names begin with a dot.
    """

    def __init__(self, path: str | os.PathLike[str], *, hint: str = "") -> None:
        self.name = _plain(os.fspath(path))
        self.confined = False
        self.hidden = 0
        self._hint = hint
        self._known: dict[tuple[int, int], File] = {}
        self._answers: dict[str, Answer] = {}

    def streams(self, query: Query) -> Iterable[File]:  # noqa: ARG002 - all are looked at
        """Open what is there and was not before, whatever the `query`.

        Raises:
            NotFoundError: There is no such directory.
        """
        try:
            os.stat(self.name)
        except (FileNotFoundError, NotADirectoryError) as error:
            missing = f"No logs found: {readable(self.name)} does not exist."
            raise NotFoundError(missing, hint=self._hint) from error
        except OSError as error:
            self._refused(self.name, error)
            return []
        _raise_open_files_limit()
        found: list[File] = []
        for _ in range(_LISTINGS_MAX):
            new = list(self._open_new())
            found += new
            if not new:
                break
        return sorted(found, key=lambda file: file.name)

    def answers(self) -> Sequence[Answer]:
        """Say which files could not be read, and which of `cordboard up` are not there."""
        if not (self._known or self._answers):
            words = (
                "the directory contains no files"
                if os.path.isdir(self.name)
                else "not a regular file"
            )
            why = Shortfall("no_source", words)
            return [Answer(readable(self.name), "directory", shortfalls=(why,))]
        return [*self._answers.values(), *self._gone()]

    def _gone(self) -> Iterator[Answer]:
        if os.path.exists(os.path.join(self.name, f"{UP}.jsonl")):
            for part in UP_PARTS:
                path = os.path.join(self.name, f"{part}.jsonl")
                if not os.path.exists(path):
                    yield Answer(readable(path), "file", shortfalls=(Shortfall("gone"),))

    def notes(self) -> Sequence[str]:
        """Return how many files were left out because their names begin with a dot."""
        if not self.hidden:
            return ()
        files = "1 file" if self.hidden == 1 else f"{self.hidden} files"
        names = "name begins" if self.hidden == 1 else "names begin"
        return (f"{readable(self.name)}: skipped {files} whose {names} with a dot.",)

    def forget(self, stream: Stream) -> None:
        """Take note that `stream`, a file, is no more: another one may come to have its number."""
        self._known = {
            identity: file for identity, file in self._known.items() if file is not stream
        }

    def explain(self, query: Query) -> Sequence[str]:
        """Return the command of a shell for `query`: the session or the user, and the window."""
        import shlex

        path = shlex.quote(self.name)
        found = f"grep -rhE '' {path}"
        if wanted := query.session or query.user:
            found = f"grep -rhF -- {shlex.quote(wanted)} {path}"
        window = [f'$0 >= "{{\\"timestamp\\":\\"{query.since}"'] if query.since else []
        if query.until:
            window.append(f'$0 < "{{\\"timestamp\\":\\"{query.until}"')
        narrowed = f" | awk '{' && '.join(window)}'" if window else ""
        return [f"{found}{narrowed} | sort"]

    def _open_new(self) -> Iterator[File]:
        for path in self._paths():
            try:
                status = os.stat(path)
                if not stat.S_ISREG(status.st_mode):
                    continue
                if (status.st_dev, status.st_ino) in self._known:
                    continue
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError as error:
                self._refused(path, error)
                continue
            try:
                file = File(path, fd)
            except OSError as error:
                os.close(fd)  # it opens, and cannot be read: a bad disk, a file of the kernel
                self._refused(path, error)
                continue
            if file.identity in self._known:
                file.close()
                continue
            if self.confined and (target := self._outside(fd)) is not None:
                file.close()
                why = Shortfall("left_out", f"symbolic link to {readable(target)}")
                self._answers[path] = Answer(readable(path), "file", shortfalls=(why,))
                continue
            self._known[file.identity] = file
            yield file

    def _outside(self, fd: int) -> str | None:
        """Return where an open file really is, if that is outside of the directory."""
        root = os.path.realpath(self.name)
        path = os.readlink(f"/proc/self/fd/{fd}")
        return None if path == root or path.startswith(f"{root.rstrip('/')}/") else path

    def _refused(self, name: str, error: OSError) -> None:
        if isinstance(error, FileNotFoundError):
            return  # rotated away since the listing: the next one tells
        reason = "forbidden" if isinstance(error, PermissionError) else "unreadable"
        why = Shortfall(reason, error.strerror or str(error))
        name = readable(name)
        self._answers[name] = Answer(name, "file", shortfalls=(why,))

    def _paths(self) -> Iterator[str]:
        if not os.path.isdir(self.name):
            yield self.name
            return
        here = "./" if self.name == "." else ""
        self.hidden = 0
        entered: set[tuple[int, int]] = set()
        for folder, folders, names in os.walk(self.name, onerror=self._closed, followlinks=True):
            # Links may lead in a circle, or to one folder twice.
            folders[:] = [name for name in sorted(folders) if _enter(folder, name, entered)]
            for name in sorted(names):
                if name.startswith("."):
                    self.hidden += 1
                else:
                    yield os.path.join(folder, name).removeprefix(here)

    def _closed(self, error: OSError) -> None:
        self._refused(str(error.filename), error)


def _enter(folder: str, name: str, entered: set[tuple[int, int]]) -> bool:
    """Note that a folder is walked through; return whether it was not before."""
    try:
        status = os.stat(os.path.join(folder, name))
    except OSError:
        return True  # the walk itself says why it cannot be listed
    identity = (status.st_dev, status.st_ino)
    new = identity not in entered
    entered.add(identity)
    return new


def _is_binary(head: bytes) -> bool:
    """Return whether a plain file is none of lines; zeros at its start are a hole that a crash left."""
    head = head.lstrip(b"\0")
    if b"\0" not in head or head.startswith(b"{"):
        return False
    # A crash leaves a few holes in a text. UTF-16 has a zero at every second place, a program's file
    # has other controls.
    holes = len(_ZEROS.findall(head))
    return _CONTROLS.search(head) is not None or holes > 1 + len(head) // _HOLES_APART


def readable(path: str) -> str:
    r"""Return `path` as valid text: bytes of it that are not UTF-8 as ``\xe9``."""
    return path if path.isascii() else os.fsencode(path).decode("utf-8", "backslashreplace")


def _plain(path: str) -> str:
    """Return a path without what means nothing, as pathlib writes it; ``..`` may lead through a link."""
    parts = [part for part in path.split("/") if part not in {"", "."}]
    return ("/" if path.startswith("/") else "") + "/".join(parts) or "."


def open_source(options: Mapping[str, Any]) -> Directory:
    """Return the source of one entry of ``[environments]``, whose `options` are a ``path``.

    Raises:
        SettingsError: An option is missing or unknown.
    """
    path = checked("directory", options, path=str)["path"]
    if not path:
        raise SettingsError(
            "directory: path: expected a string.",
            hint='Write: type = "directory", path = "/var/log/cordboard".',
        )
    return Directory(path)


def _raise_open_files_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
