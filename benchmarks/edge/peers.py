"""The two ways to serve the same bot: `cordboard up`, and Pipecat's own runner in one process."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _up import CORDBOARD, FREE_PORTS, up

HERE = Path(__file__).parent

START_S = 60.0
# One runner takes as many calls as a benchmark makes, and starts them as they come.
SETTINGS = {"CORDBOARD_RUNNER_CAPACITY": "64"}


@dataclass(frozen=True)
class Server:
    """A way to serve a bot.

    Attributes:
        name: For the table.
        url: Where clients and carriers call.
        pids: The processes by what they do.
    """

    name: str
    url: str
    pids: dict[str, int]

    def stream_url(self) -> str:
        """Return the URL of a new phone call's stream."""
        answer = self.post("/start", {"transport": "twilio"})
        # Pipecat's runner names wss, which a proxy in front of it would serve.
        return str(answer["wsUrl"]).replace("wss://", "ws://")

    def post(self, path: str, body: Any) -> dict[str, Any]:
        """Send JSON; return the JSON of the answer."""
        request = urllib.request.Request(
            f"{self.url}{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return dict(json.load(answer))


@contextlib.contextmanager
def cordboard(*words: str, **settings: str) -> Iterator[Server]:
    """Run everything, with further arguments of `cordboard up`; the edge is where clients call."""
    with up((CORDBOARD, "up", *FREE_PORTS, *words), **SETTINGS, **settings) as running:
        yield Server("cordboard", running.addresses["edge"], _parts(running.addresses))


@contextlib.contextmanager
def pipecat_runner(bot: Path) -> Iterator[Server]:
    """Run Pipecat's runner in one process."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    environment = os.environ | {"LOGURU_LEVEL": "WARNING"}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, str(bot), "--host", "127.0.0.1", "--port", str(port)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            _wait(url, process)
            yield Server("pipecat runner", url, {"runner": process.pid})
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def load() -> str:
    """Return what else this machine does, for the head of a table."""
    one, five, _ = os.getloadavg()
    return f"{os.cpu_count()} cores, load {one:.1f} (1 min) {five:.1f} (5 min) before the run"


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used so far, in seconds."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def _parts(addresses: dict[str, str]) -> dict[str, int]:
    """Return the pids of the parts that listen on these addresses."""
    pids = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_text().split("\0")
            for name, url in addresses.items():
                if {name, url.rpartition(":")[2]} <= set(words):
                    pids[name] = int(folder.name)
    return pids


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/status", timeout=5):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit("Pipecat's runner did not start.")
        time.sleep(0.1)
