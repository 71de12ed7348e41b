"""A program that prints lines: a log store's own client, ``ssh``, ``journalctl``, anything.

    [[environments.prod]]
    type = "command"
    command = [
      "journalctl", "--output=json", ["--since=@{since_s}"], ["--until=@{until_s}"],
    ]

The words are given to the program as they are: there is no shell. A list within the list is left out where a
placeholder in it has no value in the query. ``{{word}}`` stands for ``{word}``.
"""

import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

from cordboard.contract.errors import SettingsError
from cordboard.logs.coverage import Shortfall
from cordboard.logs.formats.batches import unbatched
from cordboard.logs.query import Query
from cordboard.logs.sources import Source, Stream
from cordboard.logs.sources._options import checked
from cordboard.logs.timespec import duration_s, seconds, shifted

PLACEHOLDERS: Final = (
    *("since", "since_s", "since_ms", "since_ns", "until", "until_s", "until_ms", "until_ns"),
    *("session", "follow"),
)
EXIT_INCOMPLETE: Final = 3
"""The exit status of a program that returned less than there is, as that of ``cordboard logs``."""

_PLACEHOLDER: Final = re.compile(r"(?<!\{)\{([a-z_]+)\}")
_IN_BRACES: Final = re.compile(r"\{(\{[a-z_]+\})\}")
_PER_SECOND: Final = {"_s": 1, "_ms": 1_000, "_ns": 1_000_000_000}
_CHUNK_BYTES: Final = 64 << 10  # what a pipe holds on Linux
_ERROR_LINES: Final = 20  # of stderr, so that a program that complains without end takes no memory
_ERROR_CHARS: Final = 500  # of one line, which is shown as a reason
# A client that is stopped may remove a temporary file, as gcloud and aws do, before it is killed.
_STOP_S: Final = 1.0
_STOP_POLL_S: Final = 0.01

Word = str | tuple[str, ...]
"""One word, or words that are left out together."""


class Command(Source):
    """A source whose lines a program prints.

    Args:
        command: The words of the program and its arguments.
        name: What messages call it; the program's name if empty.
        selective: Whether it returns the lines of one session alone where one is asked for. Numbers that
            are missing among them are then no losses.
        settles_s: How many seconds after it was written a line may still arrive.
        follow: The word that ``{follow}`` stands for while following.
    """

    def __init__(
        self,
        command: Sequence[Word],
        *,
        name: str = "",
        selective: bool = False,
        settles_s: float = 0.0,
        follow: str = "",
    ) -> None:
        self.command = tuple(command)
        self.name = name or Path(str(self.command[0])).name
        self.selective = selective
        self.settles_s = settles_s
        self.follow = follow
        self._stream: _Output | None = None

    def streams(self, query: Query) -> Iterable["_Output"]:
        """Return the program's output, once.

        Args:
            query: Gives the placeholders their values.

        Raises:
            SettingsError: A placeholder that may not be left out has no value, or the program cannot
                follow and the query does.
        """
        if self._stream is not None:
            return []
        if query.follow and not self._names("follow"):
            raise SettingsError(
                f"The command of {self.name} does not support --follow.",
                hint='Add {follow} where the program expects that option, and set follow = "--follow".',
            )
        self._stream = _Output(self, self._words(query), query)
        return [self._stream]

    def explain(self, query: Query) -> Sequence[str]:
        """Return the command for `query` as a shell takes it."""
        return [shlex.join(self._words(query))]

    def close(self) -> None:
        """Stop the program."""
        if self._stream is not None:
            self._stream.close()

    def _names(self, placeholder: str) -> bool:
        every = [
            word for item in self.command for word in ((item,) if isinstance(item, str) else item)
        ]
        return any(placeholder in _PLACEHOLDER.findall(word) for word in every)

    def _words(self, query: Query) -> list[str]:
        values = _values(query, self.follow)
        words: list[str] = []
        for item in self.command:
            if isinstance(item, str):
                words.append(self._filled(item, values))
            elif all(values.get(name) for word in item for name in _PLACEHOLDER.findall(word)):
                words += [self._filled(word, values) for word in item]
        return [word for word in words if word]

    def _filled(self, word: str, values: Mapping[str, str]) -> str:
        if word == "{follow}":
            return values["follow"]
        missing = [name for name in _PLACEHOLDER.findall(word) if not values.get(name)]
        if missing:
            option = {"session": "--session", "follow": "-f"}.get(missing[0], "--" + missing[0][:5])
            raise SettingsError(
                f"The command of {self.name} needs a value for {{{missing[0]}}}.",
                hint=f"Use {option}, or put the word into a nested list, which is omitted if it has no value.",
            )
        return _IN_BRACES.sub(r"\1", _PLACEHOLDER.sub(lambda found: values[found[1]], word))


class _Output(Stream):
    """What a program prints."""

    kind = "command"

    def __init__(self, source: Command, words: Sequence[str], query: Query) -> None:
        self.name = source.name
        self.selective = source.selective and query.session is not None
        self._source = source
        self._words = words
        self._query = query
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: deque[str] = deque(maxlen=_ERROR_LINES)
        self._shortfalls: list[Shortfall] = []
        self._lock = threading.Lock()
        self._stopped = False
        self._ended = False

    def read(self, *, follow: bool = False) -> Iterator[bytes]:  # noqa: ARG002 - a word says it
        """Yield what the program prints, until it ends or is stopped."""
        process = self._start()
        if process is None or process.stdout is None or process.stderr is None:
            return
        reader = threading.Thread(target=self._read_errors, args=(process.stderr,), daemon=True)
        reader.start()
        read = partial(process.stdout.read1, _CHUNK_BYTES)  # type: ignore[attr-defined]
        chunks = iter(read, b"")
        yield from unbatched(chunks, self._shortfalls.append)
        status = process.wait()
        self._ended = True
        reader.join(_STOP_S)
        self._shortfalls += self._why(status)

    def shortfalls(self) -> Sequence[Shortfall]:
        """Return why lines are missing, by the program's exit status and what it wrote to stderr."""
        return self._shortfalls

    def close(self) -> None:
        """Stop the program and all that it has started: SIGTERM, and SIGKILL after a second."""
        with self._lock:
            process, self._stopped = self._process, True
        if process is None or self._ended:
            return
        # The program may be a shell that ends before its children: they are what the group is asked for.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGTERM)
            end = time.monotonic() + _STOP_S
            while time.monotonic() < end:
                process.poll()
                os.killpg(process.pid, 0)
                time.sleep(_STOP_POLL_S)
            os.killpg(process.pid, signal.SIGKILL)

    def _start(self) -> "subprocess.Popen[bytes] | None":
        with self._lock:
            if self._stopped:
                return None
            try:
                self._process = subprocess.Popen(
                    list(self._words),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,  # a group of its own, which is stopped as a whole
                )
            except (OSError, ValueError) as error:
                words = getattr(error, "strerror", None) or str(error)
                self._shortfalls.append(Shortfall("unreachable", f"{self._words[0]}: {words}"))
            return self._process

    def _read_errors(self, stderr: IO[bytes]) -> None:
        while line := stderr.readline(_CHUNK_BYTES):
            if text := line.decode("utf-8", "replace").strip():
                self._errors.append(text[:_ERROR_CHARS])

    def _why(self, status: int) -> Iterator[Shortfall]:
        last = self._errors[-1] if self._errors else ""
        if status == EXIT_INCOMPLETE:
            yield Shortfall("truncated", last or "the command reported that lines are missing")
        elif status and not self._stopped:
            how = f"exit status {status}" if status > 0 else f"killed by signal {-status}"
            yield Shortfall("unreachable", f"{how}: {last}" if last else how)
        if (until := self._unsettled()) is not None:
            yield Shortfall("not_settled", f"lines since {until} may still arrive")

    def _unsettled(self) -> str | None:
        """Return since when lines may still arrive, if that is in the window."""
        if not self._source.settles_s:
            return None
        from datetime import UTC, datetime

        from cordboard.logs.timespec import timestamp

        settled = shifted(timestamp(datetime.now(UTC)).encode(), -self._source.settles_s)
        return settled.decode() if settled < self._query.end else None


def open_source(options: Mapping[str, Any]) -> Command:
    """Return the source of one entry of ``[environments]``.

    Args:
        options: ``command`` (words, and lists of words that may be left out), ``name``, ``selective``
            (true or false), ``settles`` (a duration), ``follow`` (the word for ``{follow}``).

    Raises:
        SettingsError: An option is missing, unknown or of another type, or a placeholder is unknown.
    """
    values = checked(
        "command", options, command=object, name=str, selective=bool, settles=str, follow=str
    )
    return Command(
        _checked_words(values["command"]),
        name=values["name"],
        selective=values["selective"],
        settles_s=duration_s(values["settles"]) if values["settles"] else 0,
        follow=values["follow"],
    )


def _checked_words(value: Any) -> list[Word]:
    words: list[Word] = []
    for item in value if isinstance(value, list) else ():
        if isinstance(item, str):
            words.append(item)
        elif isinstance(item, list) and all(isinstance(word, str) for word in item):
            words.append(tuple(item))
    if not words or len(words) != len(value) or not isinstance(words[0], str) or not words[0]:
        raise SettingsError(
            "command: expected a list of words, the program first.",
            hint='Write: command = ["journalctl", "-o", "json", ["--since", "@{since_s}"]].',
        )
    every = [word for item in words for word in ((item,) if isinstance(item, str) else item)]
    for name in (name for word in every for name in _PLACEHOLDER.findall(word)):
        if name not in PLACEHOLDERS:
            raise SettingsError(
                f"command: unknown placeholder {{{name}}}.",
                hint=f"The placeholders are {', '.join(PLACEHOLDERS)}.",
            )
    return words


def _values(query: Query, follow: str) -> dict[str, str]:
    values = {"session": query.session or "", "follow": follow if query.follow else ""}
    for name, key in (("since", query.since), ("until", query.until)):
        values[name] = key or ""
        for unit, scale in _PER_SECOND.items():
            # In whole microseconds: a float of nanoseconds is not exact.
            micros = round(seconds(key.encode()) * 1_000_000) if key else 0
            values[name + unit] = str(micros * scale // 1_000_000) if key else ""
    return values
