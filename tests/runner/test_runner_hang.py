"""A bot file whose import hangs, in a fork server of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import asyncio, sys
from cordboard.contract.errors import BotFileError
from cordboard.runner.forkserver import ForkServer
fork_server = ForkServer({"default": sys.argv[1]}, load_timeout_s=2.0)
fork_server.start()
for wait in (fork_server.wait_until_loaded, lambda: asyncio.run(fork_server.restart())):
    try:
        wait()
    except BotFileError as error:
        print("error:", error.message)
"""

AT_ONCE = "import time; time.sleep(9e3)"
IN_EACH = """
import os, threading, time
threading.Thread(target=time.sleep, args=(9e3,), daemon=True).start()
if os.path.exists(__file__ + ".seen"):
    time.sleep(9e3)
open(__file__ + ".seen", "w").close()
async def bot(args): pass
"""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("threads", [False, True], ids=["once", "in each process"])
def test_import_that_hangs_is_killed(tmp_path: Path, threads: bool) -> None:
    """A runner waits a bounded time for its bots, when it starts and when it loads them again."""
    file = tmp_path / "bot.py"
    file.write_text(IN_EACH if threads else AT_ONCE)
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(file)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count(f"error: Bot file {file} was still being imported after 2 s.") == 2
