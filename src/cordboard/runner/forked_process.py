"""The supervisor's ends of a bot process's pipes."""

import asyncio
import socket
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess


@dataclass(frozen=True, slots=True)
class ForkedProcess:
    """A bot process, as the supervisor sees it.

    Attributes:
        process: The process, from ``multiprocessing``; ``ForkServer.wait`` closes it.
        pid: The process id, and the id of the process group once the process has made one.
        reader: Receives messages on the control channel.
        writer: Sends messages on the control channel.
        connections: Sends connections to the process.
        stdout: The read end of the pipe for standard output; ``OutputCapture`` closes it, like the next two.
        stderr: The read end of the pipe for standard error.
        records: The read end of the pipe for log records.
        imports_bot: Whether the process imports its bot file itself, because others must not share it.
        load_timeout_s: How long the process may take until it has its bot, in seconds.
        build: Hashes of its bot file and package, and the version of Pipecat.
    """

    process: BaseProcess
    pid: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    connections: socket.socket
    stdout: int
    stderr: int
    records: int
    imports_bot: bool
    load_timeout_s: float
    build: dict[str, str] = field(default_factory=dict)
