"""A bot file whose import hangs, in a fork server of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import asyncio, sys
from cordboard.contract.errors import BotFileError
from cordboard.runner.forkserver import ForkServer
fork_server = ForkServer({"default": sys.argv[1]}, load_timeout_s=float(sys.argv[2]))
fork_server.start()
for wait in (fork_server.wait_until_loaded, lambda: asyncio.run(fork_server.restart())):
    try:
        wait()
    except BotFileError as error:
        print("error:", error.message)
"""

AT_ONCE = "import time; time.sleep(9e3)"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("timeout_s", [2.0, 0.1])
def test_import_that_hangs_is_killed(tmp_path: Path, timeout_s: float) -> None:
    """A runner waits a bounded time for its bots, when it starts and when it loads them again.

    Nothing of it stays, even if it is killed before it has taken over its sockets.
    """
    file = tmp_path / "bot.py"
    file.write_text(AT_ONCE)
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(file), str(timeout_s)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert (
        run.stdout.count(
            f"error: Bot file {file} was still being imported after {timeout_s:.0f} s."
        )
        == 2
    )
