"""Sources become tracks: files as they are, remote streams by way of a temporary file."""

from _thread import allocate_lock
from collections.abc import Callable, Iterable, Sequence
from typing import IO, Final

from cordboard.contract.errors import CordboardError, NotFoundError
from cordboard.logs.blocks import ByteReader, FileByteReader
from cordboard.logs.coverage import Answer, Shortfall
from cordboard.logs.formats import Formats
from cordboard.logs.parallel import spread
from cordboard.logs.patterns import pattern
from cordboard.logs.query import Query
from cordboard.logs.sources import Source, Stream
from cordboard.logs.stream import Track, is_before

_FETCHERS: Final = 16  # remote streams that are fetched at once

_PACKED: Final = r"\.(?:zip|lz4|7z|tar|br|rar|sz|lzma|lz|z"
# The name of a log, or of an archive of logs: `app.log.1.lz4`, `logs.zip`. A database has a `000003.log`.
_LOG_NAME: Final = pattern(
    rf"(?i)^(?!\d{{6}}\.log$).*\.(?:log|jsonl|ndjson)(?:[._-]?\d[\d.T_-]*)?(?:{_PACKED}|gz|zst|xz|bz2|old|bak))?$"
    rf"|(?<![a-z])(?:sys)?logs?(?![a-z]).*{_PACKED})$"
)

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
        sources: Sequence[Source],
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
        self._files: list[Stream] = []
        self._spools: list[IO[bytes]] = []
        self._lock = allocate_lock()

    def open(self) -> None:
        """Open every stream there is; what cannot be had becomes an answer that says why."""
        for number, source in enumerate(self.sources):
            known = len(self.found)
            try:
                self._open(source.streams(self.query.narrowed()))
            except CordboardError as error:
                if len(self.sources) == 1:
                    raise
                reason = "no_source" if isinstance(error, NotFoundError) else "unreachable"
                why = Shortfall(reason, f"{error.message} {error.hint}".rstrip())
                self._failed.append(Answer(source.name, "source", shortfalls=(why,)))
            for track in self.found[known:]:
                track.source = number
            self.notes += source.notes()
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

    def add_file(self, file: Stream, byte_reader: ByteReader) -> Track | None:
        """Take in `file`, a stream whose bytes `byte_reader` has; return its track, None where it is no text."""
        self._files.append(file)
        if not file.is_text:
            self._skip(file)
            return None
        track = Track(file.name, file.kind, byte_reader, self.formats, file.modified)
        self.found.append(track)
        return track

    def _skip(self, file: Stream) -> None:
        """Take note of `file`, which is no text: it may be a log that has lines of the window."""
        if not _LOG_NAME.search(file.name.rpartition("/")[2]):
            self.notes.append(f"{file.name}: skipped, not a text file.")
        elif not self.query.exact and is_before(file.modified, self.query.first):
            self.notes.append(f"{file.name}: skipped, last written before the window.")
        else:
            why = Shortfall("unreadable", "it is not a text, nor packed in a form that is read")
            self._failed.append(Answer(file.name, file.kind, shortfalls=(why,)))

    def let_go(self, track: Track) -> None:
        """Close the file of `track`, which was deleted, so that its space is free again."""
        for file in [file for file in self._files if file.byte_reader is track.byte_reader]:
            self._files.remove(file)
            for source in self.sources:
                source.forget(file)
            file.close()
            track.byte_reader = FileByteReader(-1, 0)

    def _open(self, streams: Iterable[Stream]) -> None:
        remote: list[Stream] = []
        for stream in streams:
            if stream.byte_reader is None:
                remote.append(stream)
            else:
                self.add_file(stream, stream.byte_reader)
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
        byte_reader = FileByteReader(spool.fileno(), spool.tell())
        track = Track(
            stream.name, stream.kind, byte_reader, self.formats, selective=stream.selective
        )
        track.sequence_index.take(stream.proven())
        track.shortfalls = list(stream.shortfalls())
        return track
