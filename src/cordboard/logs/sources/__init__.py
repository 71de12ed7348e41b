"""The seam between the reader and the places where lines are kept.

A source lists its streams; a stream is a run of bytes. All that is common (lines, prefixes, foreign
key names, windows, filters, order, copies, gaps) is the reader's, so that a further source is one
file: it names what should answer, fetches bytes, and says why something is missing.

Each file of this package offers ``open_source(options) -> Source`` for one entry of
``[environments]`` in ``cordboard.toml``, imported only when it is asked for.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from cordboard.logs.blocks import ByteReader
from cordboard.logs.coverage import Answer, Shortfall
from cordboard.logs.query import Query, Whereabouts
from cordboard.logs.timespec import LOWEST


class Stream(Protocol):
    """One run of lines in near time order, as its origin keeps it: a container's log, a log stream.

    Each line may stand behind a timestamp (``2026-11-23T10:11:12.123456789Z ``, as ``kubectl logs
    --timestamps`` writes, or the whole CRI prefix); the reader prefers the record's own. Implementations
    inherit from this class.

    Attributes:
        name: ``namespace/pod/container``, with ``(previous)``, ``(init)``, ``(ephemeral)`` behind it.
        kind: ``container``, ``command``, ``job`` (the containers of a session's Jobs) or ``stream``; what `Answer.kind` says.
        selective: Whether it holds the lines of one session alone: numbers missing among them are no losses.
        byte_reader: Its bytes, where they are at hand; where not, `read` brings them.
        modified: When it was last written, as a key, where that is known.
        is_text: Whether it consists of lines.
    """

    name: str
    kind: str
    selective: bool = False
    byte_reader: ByteReader | None = None
    modified: bytes = LOWEST
    is_text: bool = True

    def read(self, *, follow: bool = False) -> Iterator[bytes]:
        """Yield the bytes of the query's window as they come, in chunks of any size.

        Called once, in a thread of its own; it may block. More than the window is no harm: the
        reader narrows it. Ends at the end of what is there; with `follow`, at the end of the stream's
        life or after `close`. Never raises for what a user may meet: it ends, and `shortfalls`
        says why.
        """
        ...

    def shortfalls(self) -> Sequence[Shortfall]:
        """Say why something is missing; asked when `read` has ended, and time and again while it follows."""
        ...

    def proven(self) -> Mapping[bytes, Sequence[tuple[int, int]]]:
        """Return the numbers that the origin is known to have beside those read; asked when `read` has ended.

        Returns:
            For each process its numbers, first and last of each run.
        """
        return {}

    def close(self) -> None:
        """End a `read` that blocks; called from another thread, perhaps twice."""
        ...


class Source(Protocol):
    """Somewhere lines are kept; implementations inherit from this class.

    Attributes:
        name: What a user knows it by: a path, ``kubernetes context prod``.
    """

    name: str

    def locate(self, session: str) -> Whereabouts | None:  # noqa: ARG002 - few sources know
        """Return when and where the session with the id `session` ran; None where this source cannot know.

        Raises:
            CordboardError: It could know, and does not answer, or does not know this session.
        """
        return None

    def streams(self, query: Query) -> Iterable[Stream]:
        """List what is there. While following it is called again and again: then only what is new.

        It may look at `query` to ask for less (window, session), never for other than what fits.

        Raises:
            CordboardError: Nothing at all can be read from here.
        """
        ...

    def answers(self) -> Sequence[Answer]:
        """Say what should have answered and has no stream, and why; asked when all is read."""
        return ()

    def explain(self, query: Query) -> Sequence[str]:
        """Return the commands of the source's own tool that answer `query`, to be pasted into a shell."""
        ...

    def notes(self) -> Sequence[str]:
        """Return what the reader should know of what was listed."""
        return ()

    def forget(self, stream: Stream) -> None:  # noqa: ARG002 - few sources remember
        """Take note that `stream` is no more."""
        return

    def facts(self) -> Sequence[str]:
        """Return the identity, the limits and the clock, for ``cordboard doctor --env``."""
        return ()

    def close(self) -> None:
        """Let go of connections; streams are closed already."""
        return
