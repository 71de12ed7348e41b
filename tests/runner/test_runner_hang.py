"""A bot file whose import hangs, in a fork server of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import asyncio, sys
from cordboard.contract.errors import BotFileError
from cordboard.runner import forkserver
forkserver.LOAD_TIMEOUT_S = 2.0
found = forkserver.ForkServer({"default": sys.argv[1]})
found.begin()
for wait in (found.wait, lambda: asyncio.run(found.begin_again())):
    try:
        wait()
    except BotFileError as error:
        print("told:", error.message)
"""

AT_ONCE = "import time; time.sleep(9e3)"
IN_EACH = """
import os, threading, time
threading.Thread(target=time.sleep, args=(9e3,), daemon=True).start()
if "CORDBOARD_PRELOAD_BARE" in os.environ:
    time.sleep(9e3)
async def bot(args): pass
"""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("threads", [False, True], ids=["once", "in each process"])
def test_an_import_that_hangs_is_ended(tmp_path: Path, threads: bool) -> None:
    """A runner waits a bounded time for its bots, at its start and whenever it loads them anew."""
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
    assert run.stdout.count(f"told: Bot file {file} was still being imported after 2 s.") == 2
