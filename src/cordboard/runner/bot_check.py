"""Loads a bot file as the runner would, to check it: for `cordboard doctor`.

``python -m cordboard.runner.bot_check FD NAME FILE`` loads it and writes what was wrong to the descriptor.
"""

import json
import os
import subprocess
import sys
from typing import Final

from cordboard.contract.errors import BotFileError, CordboardError
from cordboard.runner.bot_file import LOAD_TIMEOUT_S, check_file
from cordboard.runner.forkserver import TOO_SLOW, ForkServer

MARGIN_S: Final = 10.0  # the fork server's own start, before it loads the file


def try_bot(name: str, file: str, within_s: float = LOAD_TIMEOUT_S + MARGIN_S) -> None:
    """Load a bot file in a process of its own, which ends then; what it prints is not shown.

    Raises:
        BotFileError: It cannot be loaded (with the runner's message), or not within the time.
    """
    check_file(file)
    ours, theirs = os.pipe()
    with open(ours, "rb") as answer:  # noqa: PTH123 - a descriptor
        try:
            said = _run(theirs, name, file, within_s)
        finally:
            os.close(theirs)
        written = answer.read()
    if not written:
        raise BotFileError(
            f"Bot file {file} ended the process that imported it.",
            hint=f"Its last output was: {said.strip().splitlines()[-1]}" if said.strip() else "",
        )
    wrong = json.loads(written)
    if wrong:
        raise BotFileError(wrong["message"], hint=wrong["hint"])


def _run(answer: int, name: str, file: str, within_s: float) -> str:
    command = [sys.executable, "-m", "cordboard.runner.bot_check", str(answer), name, file]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[answer],
            timeout=within_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BotFileError(
            f"Bot file {file} was still being imported after {within_s:.0f} s.",
            hint=TOO_SLOW,
        ) from error
    return done.stdout.decode(errors="replace")


def main() -> None:
    """Load the file; write what was wrong, or null."""
    answer, name, file = sys.argv[1:]
    wrong = None
    os.set_inheritable(int(answer), False)
    fork_server = ForkServer({name: file})
    try:
        fork_server.begin()
        fork_server.wait()
    except BotFileError as error:
        wrong = {"message": error.message, "hint": error.hint}
    except CordboardError:  # the fork server has ended: our silence tells it
        return
    os.write(int(answer), json.dumps(wrong).encode())


if __name__ == "__main__":
    main()
