"""The pytest plugin: options, marker and fixtures. Inactive without ``--cordboard-log``.

With the option, a test fails, with file and line, if the service under test writes a line that
violates the schema, prints, or writes a line without its session from a thread that was started in
a session. The fixtures additionally find lines that carry the wrong session.

pytest imports this module in every run where Cordboard is installed, so it imports nothing of
Cordboard itself.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Final

import pytest

MARKER: Final = "cordboard_log_exempt(reason): exclude this test from the checks of --cordboard-log"

RunInterleaved = Callable[..., None]
RunInterleavedAsync = Callable[..., Coroutine[Any, Any, None]]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--cordboard-log`` and its companions to pytest's `parser`."""
    group = parser.getgroup("cordboard")
    group.addoption(
        "--cordboard-log",
        action="store_true",
        help="fail each test that prints, or that writes a log line without its session, with "
        "the wrong session, or with an invalid schema",
    )
    group.addoption(
        "--cordboard-log-children",
        action="store_true",
        help="check the lines of Python processes that tests start, too (through PYTHONPATH)",
    )
    group.addoption(
        "--cordboard-log-report",
        metavar="FILE.md",
        help="write to FILE.md which modules logged, as which service, and whether in a session",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker in `config`, and the checks if ``--cordboard-log`` was given."""
    config.addinivalue_line("markers", MARKER)
    if config.getoption("--cordboard-log"):
        from cordboard.pytest_plugin.child_processes import ChildProcesses
        from cordboard.pytest_plugin.conformance import ConformanceChecks

        # A controller of pytest-xdist runs no tests; its workers would observe children twice.
        root, report = str(config.rootpath), config.getoption("--cordboard-log-report")
        with_children = config.getoption("--cordboard-log-children") and not _is_controller(config)
        children = ChildProcesses(root) if with_children else None
        checks = ConformanceChecks(root, report, children)
        config.pluginmanager.register(checks, "cordboard-log-checks")


def _is_controller(config: pytest.Config) -> bool:
    """Return whether this process only distributes the tests to workers of pytest-xdist."""
    distributes = config.getoption("dist", "no") != "no"
    return distributes and not hasattr(config, "workerinput")


@pytest.fixture
def cordboard_interleaved_sessions() -> RunInterleaved:
    """Run the same work in two interleaved sessions; fail unless each line has the right one.

    ``cordboard_interleaved_sessions(work)`` calls ``work(session_id)`` twice at the same time: a
    coroutine function in one event loop, a function in two threads. With ``bind=False`` the session
    is not bound for ``work``: use it if the service under test binds the session itself, from a
    header or a message. A line that mentions one session id and carries the other, or none, fails
    the test.
    """
    from cordboard.pytest_plugin.interleaved_sessions import run_interleaved

    def run(work: Callable[[str], Any], *, bind: bool = True) -> None:
        _fail_if_any(run_interleaved(work, bind=bind))

    return run


@pytest.fixture
def cordboard_async_interleaved_sessions() -> RunInterleavedAsync:
    """Do the same as ``cordboard_interleaved_sessions``, awaited, in the loop of an async test."""
    from cordboard.pytest_plugin.interleaved_sessions import run_interleaved_async

    async def run(work: Callable[[str], Coroutine[Any, Any, Any]], *, bind: bool = True) -> None:
        _fail_if_any(await run_interleaved_async(work, bind=bind))

    return run


@pytest.fixture
def cordboard_canary(cordboard_interleaved_sessions: RunInterleaved) -> RunInterleaved:
    """Return ``cordboard_interleaved_sessions``; this is its name before version 0.2."""
    return cordboard_interleaved_sessions


@pytest.fixture
def cordboard_async_canary(
    cordboard_async_interleaved_sessions: RunInterleavedAsync,
) -> RunInterleavedAsync:
    """Return ``cordboard_async_interleaved_sessions``; this is its name before version 0.2."""
    return cordboard_async_interleaved_sessions


def _fail_if_any(problems: list[str]) -> None:
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)
