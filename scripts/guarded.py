"""Run pip or venv for setup.sh, and stop it with setup.sh: guarded.py PARENT MODULE ARGUMENT...

When the process PARENT ends for any reason, or on SIGTERM, the module is interrupted, so that pip removes its
temporary files. If it still runs after GRACE_S, it is killed with all its child processes.

The file .unfinished is created in the virtual environment when pip begins to write there, not before: an
installation that fails while it downloads packages leaves the environment as it was.
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

# pip removes a few hundred megabytes of temporary files in well under a second. A DNS lookup cannot be
# interrupted, and may take longer than this.
GRACE_S = 3.0
POLL_S = 0.2
UNFINISHED = Path(sys.prefix, ".unfinished")


def main(parent: int, module: str, arguments: list[str]) -> None:
    """Run a module as `python -m` does, in its own process group."""
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
    """Interrupt the module, so that it cleans up."""
    raise KeyboardInterrupt


def end_with(parent: int) -> None:
    """End this process group when `parent` has ended."""
    while os.getppid() == parent:
        time.sleep(POLL_S)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    time.sleep(GRACE_S)
    os.killpg(0, signal.SIGKILL)


def marking_record(*args: Any, **keywords: Any) -> logging.LogRecord:
    """Return a log record; create .unfinished when the record says that pip begins to write."""
    record = logging.LogRecord(*args, **keywords)
    if str(record.msg).startswith("Installing collected packages"):
        UNFINISHED.touch()
    return record


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
