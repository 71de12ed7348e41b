"""Loads bot files by Cordboard's own loader, each in a fork of a process that has imported Pipecat.

    python corpus_loader.py FILE ... > results, one JSON object a line

The interpreter may be another one than the tests' own: one that has the SDKs of the bots.
"""

import importlib
import json
import os
import signal
import sys
import threading
import time

# Imported by the fork server, too, before it loads bot files.
WARM = ("pipecat.pipeline.worker", "pipecat.runner.types", "pipecat.workers.runner")
# The slowest official bot takes 20 s on a busy machine: it loads a model of a voice. On one that gives this
# process a hundredth of a processor, one in ten took over 90 s.
LOAD_S = 900


def load(file: str) -> dict[str, object]:
    """Load one file in this process; return what came of it."""
    from cordboard.contract.errors import CordboardError
    from cordboard.runner.bot_file import load_bot

    began = time.perf_counter()
    error = hint = ""
    try:
        load_bot(file)
    except CordboardError as refused:
        error, hint = str(refused), refused.hint or ""
    except BaseException as other:  # noqa: BLE001 - the report has to list it, whatever it is
        error = f"{type(other).__name__}: {other}"
    seconds = round(time.perf_counter() - began, 3)
    names = sorted(thread.name for thread in threading.enumerate()[1:])
    return {"file": file, "error": error, "hint": hint, "seconds": seconds, "threads": names}


def load_in_child(file: str) -> dict[str, object]:
    """Load one file in a fork of this process; return what came of it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        signal.alarm(LOAD_S)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        os.write(writer, json.dumps(load(file)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answers:
        answer = answers.read()
    _, status = os.waitpid(pid, 0)
    if answer:
        return dict(json.loads(answer))
    return {"file": file, "error": f"the process ended with {status}", "hint": "", "threads": []}


def main() -> None:
    """Load all files that are named."""
    for name in WARM:
        importlib.import_module(name)
    del sys.modules["__main__"].__file__  # as in the fork server
    sys.path.pop(0)  # this file's folder, which a bot does not see
    for file in sys.argv[1:]:
        sys.stdout.write(json.dumps(load_in_child(file)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
