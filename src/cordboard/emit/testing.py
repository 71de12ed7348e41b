"""The conformance kit, a pytest plugin: `pytest --cordboard-log`. Asleep without that option.

With it a test fails, with file and line, when the service under test writes a line that breaks the
contract's schema, prints, or speaks without its session: in a thread that was started within one,
and anywhere in a canary, which finds the wrong session, too.
Importing this module imports nothing: pytest loads it in every run where the package is installed.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Final

import pytest

MARKER: Final = "cordboard_log_exempt(reason): --cordboard-log does not look at this test"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer ``--cordboard-log`` and what goes with it."""
    group = parser.getgroup("cordboard")
    group.addoption(
        "--cordboard-log",
        action="store_true",
        help="fail a test that writes a line without its session, of the wrong session or "
        "schema, or that prints",
    )
    group.addoption(
        "--cordboard-log-children",
        action="store_true",
        help="listen to the Python processes that tests start as well, through PYTHONPATH",
    )
    group.addoption(
        "--cordboard-log-report",
        metavar="FILE.md",
        help="write which module was heard, as which service, and with a session, to FILE.md",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Wake the kit when it is asked for."""
    config.addinivalue_line("markers", MARKER)
    if config.getoption("--cordboard-log"):
        from cordboard.emit.children import Children
        from cordboard.emit.conformance import Kit

        root, report = str(config.rootpath), config.getoption("--cordboard-log-report")
        wanted = config.getoption("--cordboard-log-children") and not _only_shares_out(config)
        children = Children(root) if wanted else None
        config.pluginmanager.register(Kit(root, report, children), "cordboard-log-kit")


def _only_shares_out(config: pytest.Config) -> bool:
    """Say whether pytest-xdist's workers run the tests, and start their processes."""
    shared = config.getoption("dist", "no") != "no"
    return shared and not hasattr(config, "workerinput")


@pytest.fixture
def cordboard_canary() -> Callable[..., None]:
    """Run the same work in two interleaved sessions; every line must be of the right one.

    ``cordboard_canary(work)`` calls ``work(session_id)`` twice at the same time, a coroutine
    function in one loop, a function in two threads. Hand the id on as a caller would (a header, a
    message), with ``bind=False`` when the service itself has to bind it. A line that names one
    session's id and carries another's, or none, fails the test.
    """
    from cordboard.emit.canary import canary

    def run(work: Callable[[str], Any], *, bind: bool = True) -> None:
        _fail_for(canary(work, bind=bind))

    return run


@pytest.fixture
def cordboard_async_canary() -> Callable[..., Coroutine[Any, Any, None]]:
    """Do what ``cordboard_canary`` does, awaited, in the loop of an asynchronous test."""
    from cordboard.emit.canary import async_canary

    async def run(work: Callable[[str], Coroutine[Any, Any, Any]], *, bind: bool = True) -> None:
        _fail_for(await async_canary(work, bind=bind))

    return run


def _fail_for(problems: list[str]) -> None:
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)
