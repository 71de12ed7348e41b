"""Runs pip or venv for setup.sh, and ends with it: guarded.py PARENT MODULE ARGUMENT...

When the process PARENT has ended, whatever ended it, or on SIGTERM, the module is interrupted, so that
pip removes its temporary files. What has not ended after GRACE_S is killed with all that it started.

The file .unfinished in the virtual environment is made when pip begins to write there, not before:
an installation that fails while packages are fetched leaves the environment as it was.
"""

import logging
import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

# pip removes some hundred megabytes of temporary files in well under a second; a look-up of a host
# name cannot be interrupted, and lasts longer.
GRACE_S = 3.0
POLL_S = 0.2
UNFINISHED = Path(sys.prefix, ".unfinished")


def main(parent: int, module: str, arguments: list[str]) -> None:
    """Run the module as `python -m` does, in a process group of its own."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, interrupt)
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    logging.setLogRecordFactory(marking_record)
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:
        os.killpg(0, signal.SIGKILL)


def interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Let the module clean up."""
    raise KeyboardInterrupt


def end_with(parent: int) -> None:
    """End this process group once the parent has ended."""
    while os.getppid() == parent:
        time.sleep(POLL_S)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    time.sleep(GRACE_S)
    os.killpg(0, signal.SIGKILL)


def marking_record(*args: Any, **keywords: Any) -> logging.LogRecord:
    """Return the record; make the mark when it is pip's word that the writing begins."""
    record = logging.LogRecord(*args, **keywords)
    if str(record.msg).startswith("Installing collected packages"):
        UNFINISHED.touch()
    return record


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
