"""What ``pytest --cordboard-log`` looks at: each line as it is written, and each print."""

import asyncio
import builtins
import inspect
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final
from uuid import uuid4

import msgspec
import pytest

from cordboard.context import bound
from cordboard.contract.ids import is_session_id
from cordboard.contract.record import EVENTS, LINE_MAX_BYTES, SERVER_PREFIX, TAG
from cordboard.emit.foreign import why_invalid
from cordboard.emit.pipeline import pipeline

_LOGGERS: Final = ("cordboard.emit", "logging", "loguru", "structlog", "warnings")
_CANARY_WAIT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the program a line was said."""

    module: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def _caller() -> Place:
    """Return the first frame that is no logger's."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the standard library's own way
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if not any(module == name or module.startswith(f"{name}.") for name in _LOGGERS):
            return Place(module, frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return Place("?", "?", 0)


def faults(line: bytes) -> Iterator[str]:
    """Return what is wrong with a line by itself."""
    try:
        record = msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        yield f"it is no JSON: {error}"
        return
    why = why_invalid(record)
    if why is not None:
        yield why
        return
    if len(line) > LINE_MAX_BYTES:
        yield f"it has {len(line)} bytes"
    if not is_session_id(record["sessionId"]):
        yield f"sessionId {record['sessionId']!r} is no session id"
    if record.get("event", "turn.ended") not in EVENTS:
        yield f"event {record['event']!r} is none of the contract"
    if "[" in record[TAG] or "]" in record[TAG]:
        yield f"tag {record[TAG]!r} has brackets"


@contextmanager
def watching(watcher: Callable[[bytes], None]) -> Iterator[None]:
    """Show every line to ``watcher`` for the length of a block."""
    pipeline.watchers.append(watcher)
    pipeline.redirect()
    try:
        yield
    finally:
        pipeline.watchers[:] = [other for other in pipeline.watchers if other is not watcher]
        pipeline.redirect()


class Kit:
    """Watches each test, fails it for what it wrote, and counts who spoke.

    Args:
        root: The project's folder; paths are shown from there, and prints elsewhere are not ours.
        report: Where to write the checklist, if anywhere.
    """

    def __init__(self, root: str, report: str | None) -> None:
        self.root = root
        self.report = report
        self.spoke: Counter[tuple[str, str, bool]] = Counter()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """Run a test while watching; fail it for what was found."""
        if item.get_closest_marker("cordboard_log_exempt") is not None:
            yield
            return
        problems: list[str] = []
        with watching(lambda line: self._line(line, problems)), self._no_print(item, problems):
            yield
        if problems:
            pytest.fail("\n".join(dict.fromkeys(problems)), pytrace=False)

    def _line(self, line: bytes, problems: list[str]) -> None:
        place = _caller()
        problems += [f"{self._shown(place)}: a line breaks the schema: {f}" for f in faults(line)]
        try:
            record = msgspec.json.decode(line)
            known = not str(record["sessionId"]).startswith(SERVER_PREFIX)
            if record["boot"] == pipeline.boot:  # none that was forwarded
                self.spoke[str(record["service"]), place.module, known] += 1
        except (msgspec.DecodeError, KeyError, TypeError):
            return  # told above

    @contextmanager
    def _no_print(self, item: pytest.Item, problems: list[str]) -> Iterator[None]:
        original, tests = builtins.print, str(item.path)

        def noted(*args: Any, file: Any = None, **options: Any) -> None:
            place = _caller()
            ours = place.file.startswith(self.root) and "site-packages" not in place.file
            if ours and place.file != tests and file in {None, sys.stdout, sys.stderr}:
                problems.append(f"{self._shown(place)}: print; say it through a logger")
            original(*args, file=file, **options)

        builtins.print = noted
        try:
            yield
        finally:
            builtins.print = original

    def _shown(self, place: Place) -> str:
        return str(place).removeprefix(self.root).lstrip("/")

    def rows(self) -> list[tuple[str, str, int, int]]:
        """Return service, module, lines, and how many of them had a session."""
        who = sorted({(service, module) for service, module, _ in self.spoke})
        return [
            (s, m, self.spoke[s, m, True] + self.spoke[s, m, False], self.spoke[s, m, True])
            for s, m in who
        ]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the checklist, and write it where it was asked for."""
        terminalreporter.section("lines by service and module")
        for service, module, lines, known in self.rows():
            text = f"{service:<14}{module:<44}{lines:>8} lines{known:>8} with a session"
            terminalreporter.write_line(text)
        if self.report:
            Path(self.report).write_text(self.page(), encoding="utf-8")

    def page(self) -> str:
        """Return the checklist as Markdown; without counts, which vary from run to run."""
        heads = ["| service | module | says lines | of a session |", "|---|---|---|---|"]
        rows = [
            f"| {service} | `{module}` | yes | {'yes' if known else 'no'} |"
            for service, module, _, known in self.rows()
        ]
        title = "# Who speaks\n\nWritten by `pytest --cordboard-log --cordboard-log-report`.\n"
        return "\n".join([title, *heads, *rows, ""])


def canary(work: Callable[[str], Any], *, bind: bool = True) -> list[str]:
    """Run ``work(session_id)`` in two interleaved sessions; return what was said wrongly."""
    sessions = [f"canary-{uuid4().hex[:8]}-{letter}" for letter in "ab"]
    problems: list[str] = []

    def look(line: bytes) -> None:
        record = msgspec.json.decode(line)
        said, text = record["sessionId"], line.decode().replace(record["sessionId"], "", 1)
        problems.extend(
            f"{_caller()}: a line about {session} is of {said}"
            for session in sessions
            if session in text and session != said
        )
        if said not in sessions:
            problems.append(f"{_caller()}: {record['message']!r} has no session, but {said}")

    with watching(look):
        if inspect.iscoroutinefunction(work):
            asyncio.run(_interleaved(work, sessions, bind=bind))
        else:
            _side_by_side(work, sessions, bind=bind)
    return list(dict.fromkeys(problems))


async def _interleaved(work: Callable[[str], Any], sessions: list[str], *, bind: bool) -> None:
    async def one(session: str) -> None:
        with bound(session_id=session) if bind else nullcontext():
            await work(session)

    await asyncio.gather(*(one(session) for session in sessions))


def _side_by_side(work: Callable[[str], Any], sessions: list[str], *, bind: bool) -> None:
    failures: list[BaseException] = []
    together = threading.Barrier(len(sessions))

    def one(session: str) -> None:
        try:
            together.wait(_CANARY_WAIT_S)
            with bound(session_id=session) if bind else nullcontext():
                work(session)
        except BaseException as failure:  # noqa: BLE001 - raised below, in the test's own thread
            failures.append(failure)

    threads = [threading.Thread(target=one, args=(session,)) for session in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
