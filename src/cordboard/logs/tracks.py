"""Sources become tracks: files as they are, remote streams by way of a temporary file."""

from _thread import allocate_lock
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import IO, Final

from cordboard.contract.errors import CordboardError, NotFoundError
from cordboard.logs.coverage import Answer, Shortfall
from cordboard.logs.formats import Formats
from cordboard.logs.parallel import spread
from cordboard.logs.patterns import pattern
from cordboard.logs.query import Query
from cordboard.logs.sources import Source, Stream
from cordboard.logs.sources.directory import Directory, File, readable
from cordboard.logs.tape import FileTape
from cordboard.logs.timespec import timestamp
from cordboard.logs.track import Track

_FETCHERS: Final = 16

_CONTROLS: Final = pattern(rb"[\x01-\x06\x0e-\x1a\x1c-\x1f]")
_ZEROS: Final = pattern(rb"\0+")
_HOLES_APART: Final = 64  # a zero in each line of usual length is damage; more is another encoding

Progress = Callable[[int], None]
"""Is told of bytes that were read."""


class Tracks:
    """Everything that is open for one query.

    Args:
        query: What is asked for.
        sources: Where.
        formats: How foreign lines are read.
        progress: Is told of bytes that were fetched.

    Attributes:
        found: The tracks, in the order of their names.
        notes: What the reader should know.
        remote: Following: streams that are read by whoever follows, not here.
    """

    def __init__(
        self,
        query: Query,
        sources: Sequence[Source | Directory],
        formats: Formats,
        progress: Progress,
    ) -> None:
        self.query = query
        self.sources = sources
        self.formats = formats
        self.progress = progress
        self.found: list[Track] = []
        self.notes: list[str] = []
        self.remote: list[Stream] = []
        self._failed: list[Answer] = []
        self._files: list[File] = []
        self._spools: list[IO[bytes]] = []
        self._lock = allocate_lock()

    def open(self) -> None:
        """Open every stream there is; what cannot be had becomes an answer that says why."""
        for source in self.sources:
            try:
                self._open(source.streams(self.query.narrowed()))
            except CordboardError as error:
                if len(self.sources) == 1:
                    raise
                reason = "no_source" if isinstance(error, NotFoundError) else "unreachable"
                why = Shortfall(reason, f"{error.message} {error.hint}".rstrip())
                self._failed.append(Answer(source.name, "source", shortfalls=(why,)))
            if isinstance(source, Directory) and source.hidden:
                files = "1 file" if source.hidden == 1 else f"{source.hidden} files"
                names = "name begins" if source.hidden == 1 else "names begin"
                self.notes.append(
                    f"{readable(source.name)}: skipped {files} whose {names} with a dot."
                )
        self.found.sort(key=lambda track: track.name)

    def answers(self) -> list[Answer]:
        """Say what should have answered and could not."""
        told = [*self._failed, *(a for source in self.sources for a in source.answers())]
        if self._files and not (self.found or told):
            name = self._files[0].name if len(self._files) == 1 else self.sources[0].name
            why = Shortfall("no_source", "contains no text")
            told.append(Answer(name, "directory", shortfalls=(why,)))
        return told

    def close(self) -> None:
        """Close everything."""
        for file in self._files:
            file.close()
        for spool in self._spools:
            spool.close()
        for source in self.sources:
            source.close()

    def add_file(self, file: File) -> Track | None:
        """Take a file in; None where it is no text."""
        self._files.append(file)
        binary, file.head = _is_binary(file), b""
        if binary:
            self.notes.append(f"{file.name}: skipped, not a text file.")
            return None
        modified = timestamp(datetime.fromtimestamp(file.status.st_mtime, UTC)).encode()
        track = Track(file.name, file.kind, file.tape, self.formats, modified)
        self.found.append(track)
        return track

    def let_go(self, track: Track) -> None:
        """Close a file that is no more, so that its space is free again."""
        for file in [file for file in self._files if file.tape is track.tape]:
            self._files.remove(file)
            for source in self.sources:
                if isinstance(source, Directory):
                    source.forget(file)
            file.close()
            track.tape = FileTape(-1, 0)

    def _open(self, streams: Iterable[Stream | File]) -> None:
        remote: list[Stream] = []
        for stream in streams:
            if isinstance(stream, File):
                self.add_file(stream)
            else:
                remote.append(stream)
        if self.query.follow:
            self.remote += remote
        else:
            self.found += spread(self._fetched, remote, _FETCHERS)

    def _fetched(self, stream: Stream) -> Track:
        from tempfile import TemporaryFile

        spool: IO[bytes] = TemporaryFile()  # noqa: SIM115 - closed with all others
        with self._lock:
            self._spools.append(spool)
        for chunk in stream.read():
            spool.write(chunk)
            self.progress(len(chunk))
        stream.close()
        spool.flush()
        tape = FileTape(spool.fileno(), spool.tell())
        track = Track(stream.name, stream.kind, tape, self.formats, selective=stream.selective)
        track.ledger.take(stream.proven())
        track.shortfalls = list(stream.shortfalls())
        return track


def _is_binary(file: File) -> bool:
    """Say whether a plain file is none of lines; zeros at its start are a hole that a crash left."""
    if not isinstance(file.tape, FileTape):
        return False
    head = file.head.lstrip(b"\0")
    if b"\0" not in head or head.startswith(b"{"):
        return False
    # A crash leaves a few holes in a text. UTF-16 has a zero at every second place, a program's file
    # has other controls.
    holes = len(_ZEROS.findall(head))
    return _CONTROLS.search(head) is not None or holes > 1 + len(head) // _HOLES_APART
