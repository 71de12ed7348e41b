"""Check a bot file by loading it as the runner does, for ``cordboard doctor``.

``python -m cordboard.runner.bot_check FD NAME FILE`` loads the file and writes the error, as JSON, to the
descriptor FD.
"""

import json
import os
import subprocess
import sys
from typing import Final

from cordboard.contract.errors import BotFileError, CordboardError
from cordboard.runner.bot_file import LOAD_TIMEOUT_S, check_bot_file
from cordboard.runner.forkserver import ForkServer
from cordboard.runner.forkserver_process import SLOW_IMPORT_HINT

# The start of Python and the import of Pipecat, which precede the import of the bot file.
FORK_SERVER_START_S: Final = 10.0


def check_bot(
    name: str, file: str, timeout_s: float = LOAD_TIMEOUT_S + FORK_SERVER_START_S
) -> None:
    """Load a bot file in another process, which then ends; its output is not shown.

    Args:
        name: The bot's name.
        file: The bot file.
        timeout_s: How long loading may take, in seconds.

    Raises:
        BotFileError: The file cannot be loaded (with the runner's message), or not in time.
    """
    check_bot_file(file)
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as result_file:
        try:
            output = _load_in_subprocess(write_end, name, file, timeout_s)
        finally:
            os.close(write_end)
        result = result_file.read()
    if not result:
        lines = output.strip().splitlines()
        raise BotFileError(
            f"Bot file {file} ended the process that imported it.",
            hint=f"Its last output was: {lines[-1]}" if lines else "",
        )
    failure = json.loads(result)
    if failure:
        raise BotFileError(failure["message"], hint=failure["hint"])


def _load_in_subprocess(result_fd: int, name: str, file: str, timeout_s: float) -> str:
    """Load a bot file in another process; return the output of that process."""
    command = [sys.executable, "-m", "cordboard.runner.bot_check", str(result_fd), name, file]
    try:
        completed = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[result_fd],
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BotFileError(
            f"Bot file {file} was still being imported after {timeout_s:.0f} s.",
            hint=SLOW_IMPORT_HINT,
        ) from error
    return completed.stdout.decode(errors="replace")


def main() -> None:
    """Load the bot file named by the arguments; write its error, or null, to the descriptor."""
    result_fd, name, file = sys.argv[1:]
    failure = None
    os.set_inheritable(int(result_fd), False)  # else what the bot file starts would keep it open
    fork_server = ForkServer({name: file})
    try:
        fork_server.start()
        fork_server.wait_until_loaded()
    except BotFileError as error:
        failure = {"message": error.message, "hint": error.hint}
    except CordboardError:
        return  # the fork server ended; the caller sees that from the missing result
    os.write(int(result_fd), json.dumps(failure).encode())


if __name__ == "__main__":
    main()
