"""What ``pytest --cordboard-log`` looks at: each line as it is written, and each print."""

import _thread
import builtins
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from cordboard.context import current, variable
from cordboard.contract.record import SERVER_PREFIX
from cordboard.emit import checklist
from cordboard.emit.children import Children
from cordboard.emit.pipeline import pipeline
from cordboard.emit.witness import NOWHERE, Place, caller, faults, is_ours, watching

_OUTPUT: Final = "cordboard_log"
_STARTERS: Final = (
    (_thread, "start_new_thread"),
    (threading, "_start_new_thread"),
    (threading, "_start_joinable_thread"),  # since Python 3.13
)


class Births:
    """Notes within which session each thread was started.

    A line without a session, in such a thread, in a context where nobody has ever bound or unbound
    one, has lost it: the service never called ``configure``, or the thread is of a kind that nobody
    carries the session into.
    """

    def __init__(self) -> None:
        self._sessions: dict[int, str] = {}

    def lost(self) -> str | None:
        """Return the session that this thread should have and has not."""
        session = self._sessions.get(threading.get_ident())
        return None if session is None or variable in copy_context() else session

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note threads for the length of a block."""
        originals = [(m, n, getattr(m, n)) for m, n in _STARTERS if hasattr(m, n)]
        for module, name, original in originals:
            setattr(module, name, partial(self._start, original))
        try:
            yield
        finally:
            for module, name, original in originals:
                setattr(module, name, original)

    def _start(
        self, original: Callable[..., Any], function: Callable[..., Any], *args: Any, **options: Any
    ) -> Any:
        session = current().session_id
        run = function if session is None else partial(self._run, session, function)
        return original(run, *args, **options)

    def _run(self, session: str, function: Callable[..., Any], *args: Any, **options: Any) -> None:
        mine = threading.get_ident()
        self._sessions[mine] = session
        try:
            function(*args, **options)
        finally:
            self._sessions.pop(mine, None)


class Kit:
    """Watches each test, fails it for what it wrote, and counts who was heard.

    Args:
        root: The project's folder; paths are shown from there, and prints elsewhere are not ours.
        report: Where to write the checklist, if anywhere.
        children: What processes said that tests have started, if they are listened to.
    """

    def __init__(self, root: str, report: str | None, children: Children | None) -> None:
        self.root = root
        self.report = report
        self.children = children
        self.heard: Counter[tuple[str, str, bool]] = Counter()
        self._births = Births()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Iterator[None]:
        """Watch the fixtures' beginnings."""
        yield from self._watched(item)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """Watch the test itself."""
        yield from self._watched(item)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterator[None]:
        """Watch the fixtures' ends."""
        yield from self._watched(item)

    def _watched(self, item: pytest.Item) -> Iterator[None]:
        exempt = item.get_closest_marker("cordboard_log_exempt")
        if exempt is not None and (exempt.args or exempt.kwargs):  # a reason is given
            yield
            return
        problems: list[str] = []
        with ExitStack() as stack:
            stack.enter_context(watching(lambda line: self._line(line, problems)))
            stack.enter_context(self._births.noted())
            stack.enter_context(self._no_print(item, problems))
            yield
            if pipeline.output is not None:
                pipeline.output.flush()  # so that pytest shows lines with the test that said them
        if self.children is not None:
            problems += self.children.take(self.heard)
        if problems:
            pytest.fail("\n".join(dict.fromkeys(problems)), pytrace=False)

    def _line(self, line: bytes, problems: list[str]) -> None:
        place = caller()
        problems += [f"{self._shown(place)}: a line breaks the schema: {f}" for f in faults(line)]
        try:
            record = msgspec.json.decode(line)
            own = record["boot"] == pipeline.boot  # none that was forwarded
            known = not str(record["sessionId"]).startswith(SERVER_PREFIX)
        except (msgspec.DecodeError, KeyError, TypeError):
            return  # told above
        if not own or place is NOWHERE:
            return
        if is_ours(place.file, self.root):
            self.heard[place.module, str(record["service"]), known] += 1
        lost = None if known else self._births.lost()
        if lost is not None:
            problems.append(
                f"{self._shown(place)}: {record['message']!r} has no session, but its thread was "
                f"started within {lost}"
            )

    @contextmanager
    def _no_print(self, item: pytest.Item, problems: list[str]) -> Iterator[None]:
        original, tests = builtins.print, str(item.path)

        def noted(*args: Any, file: Any = None, **options: Any) -> None:
            place = caller()
            ours = place.file.startswith(f"{self.root}/") and "site-packages" not in place.file
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

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hand what one of pytest-xdist's workers heard to the process that started it."""
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[_OUTPUT] = [(*said, lines) for said, lines in self.heard.items()]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take what a worker heard; one that crashed hands over nothing."""
        for module, service, known, lines in getattr(node, "workeroutput", {}).get(_OUTPUT, ()):
            self.heard[module, service, known] += lines

    def pytest_unconfigure(self) -> None:
        """Listen to processes no more."""
        if self.children is not None:
            self.children.stop()

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the checklist, in full with ``-v``, and write it where it was asked for."""
        rows = checklist.rows(self.heard, self.root)
        heard = sum(bool(row.lines) for row in rows)
        if terminalreporter.verbosity > 0:
            terminalreporter.section("lines by module")
            for row in rows:
                text = f"{row.module:<44}{row.lines:>8} lines{row.known:>8} with a session"
                terminalreporter.write_line(text)
        terminalreporter.write_line(f"cordboard-log: {heard} of {len(rows)} modules were heard")
        if self.report:
            Path(self.report).write_text(checklist.page(rows), encoding="utf-8")
