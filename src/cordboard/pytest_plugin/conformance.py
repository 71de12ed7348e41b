"""The checks of ``pytest --cordboard-log``: every line that a test writes, and every print."""

import builtins
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from cordboard.contract.record import SERVER_PREFIX
from cordboard.emit.pipeline import pipeline
from cordboard.pytest_plugin.child_processes import ChildProcesses
from cordboard.pytest_plugin.line_check import (
    UNKNOWN_SITE,
    CallSite,
    LineCounts,
    call_site,
    is_project_file,
    observed_lines,
    schema_violations,
)
from cordboard.pytest_plugin.logger_coverage import coverage_page, module_coverage
from cordboard.pytest_plugin.thread_sessions import ThreadSessions

_WORKER_OUTPUT: Final = "cordboard_log"


class ConformanceChecks:
    """Checks the lines of each test, fails the test for problems, and counts lines by module.

    Args:
        root: The project's folder. Paths are shown relative to it; prints of files elsewhere are
            ignored.
        report: The path for the coverage page, or None.
        children: The notes of processes that tests start, or None if they are not checked.
    """

    def __init__(self, root: str, report: str | None, children: ChildProcesses | None) -> None:
        self.root = root
        self.report = report
        self.children = children
        self.counts: LineCounts = Counter()
        self._threads = ThreadSessions()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Iterator[None]:
        """Check the set-up of the fixtures of `item`."""
        yield from self._checked(item)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """Check the test `item` itself."""
        yield from self._checked(item)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterator[None]:
        """Check the teardown of the fixtures of `item`."""
        yield from self._checked(item)

    def _checked(self, item: pytest.Item) -> Iterator[None]:
        exemption = item.get_closest_marker("cordboard_log_exempt")
        # An exemption without a reason exempts from nothing.
        if exemption is not None and (exemption.args or exemption.kwargs):
            yield
            return
        # pytest shows the first failure only, so all problems of a test are one failure.
        problems: list[str] = []
        with ExitStack() as stack:
            stack.enter_context(observed_lines(lambda line: self._check_line(line, problems)))
            stack.enter_context(self._threads.recording())
            stack.enter_context(self._checked_print(item, problems))
            yield
            # Not in a finally: if the test itself fails, its own failure is the one to show.
            if pipeline.output is not None:
                pipeline.output.flush()  # so that pytest shows the lines with the test they are of
        if self.children is not None:
            problems += self.children.take_notes(self.counts)
        if problems:
            pytest.fail("\n".join(dict.fromkeys(problems)), pytrace=False)

    def _check_line(self, line: bytes, problems: list[str]) -> None:
        site = call_site()
        problems += [
            f"{self._shown(site)}: a line violates the schema: {violation}"
            for violation in schema_violations(line)
        ]
        try:
            record = msgspec.json.decode(line)
            is_forwarded = record["boot"] != pipeline.boot
            has_session = not str(record["sessionId"]).startswith(SERVER_PREFIX)
        except (msgspec.DecodeError, KeyError, TypeError):
            return  # a schema violation, which is among the problems already
        # A line of another process says nothing about the module that passes it on.
        if is_forwarded or site is UNKNOWN_SITE:
            return
        if is_project_file(site.file, self.root):
            self.counts[site.module, str(record["service"]), has_session] += 1
        lost_session = None if has_session else self._threads.lost_session()
        if lost_session is not None:
            problems.append(
                f"{self._shown(site)}: {record['message']!r} has no session, but its thread was "
                f"started in session {lost_session}"
            )

    @contextmanager
    def _checked_print(self, item: pytest.Item, problems: list[str]) -> Iterator[None]:
        # The function is replaced, not the stream: a stream does not know who writes to it.
        original, test_file = builtins.print, str(item.path)

        def checked_print(*args: Any, file: Any = None, **options: Any) -> None:
            site = call_site()
            # A test may print, and so may installed packages; a service may not.
            is_ours = site.file.startswith(f"{self.root}/") and "site-packages" not in site.file
            if is_ours and site.file != test_file and file in {None, sys.stdout, sys.stderr}:
                problems.append(f"{self._shown(site)}: print; use a logger instead")
            original(*args, file=file, **options)

        builtins.print = checked_print
        try:
            yield
        finally:
            builtins.print = original

    def _shown(self, site: CallSite) -> str:
        return str(site).removeprefix(self.root).lstrip("/")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Send the counts from a worker of pytest-xdist to its controller.

        Args:
            session: The test session that ends.
        """
        # Only types that execnet can send: a list of tuples instead of a Counter.
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[_WORKER_OUTPUT] = [(*key, lines) for key, lines in self.counts.items()]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Add the counts of the worker `node`; one that crashed has sent none."""
        output = getattr(node, "workeroutput", {}).get(_WORKER_OUTPUT, ())
        for module, service, has_session, lines in output:
            self.counts[module, service, has_session] += lines

    def pytest_unconfigure(self) -> None:
        """Stop observing child processes."""
        if self.children is not None:
            self.children.stop()

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the log coverage to `terminalreporter`, in full with ``-v``; write the report."""
        modules = module_coverage(self.counts, self.root)
        logged = sum(bool(module.lines) for module in modules)
        if terminalreporter.verbosity > 0:
            terminalreporter.section("log lines by module")
            for module in modules:
                terminalreporter.write_line(
                    f"{module.module:<44}{module.lines:>8} lines"
                    f"{module.session_lines:>8} in a session"
                )
        terminalreporter.write_line(f"cordboard-log: {logged} of {len(modules)} modules logged")
        if self.report:
            Path(self.report).write_text(coverage_page(modules), encoding="utf-8")
