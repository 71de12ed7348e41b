"""The two ways to serve the same bot: `cordboard up`, and Pipecat's own runner in one process."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from _up import CORDBOARD, FREE_PORTS, up
from twilio.request_validator import RequestValidator

HERE = Path(__file__).parent

START_S = 60.0
ACCOUNT = "AC00000000000000000000000000000000"
TOKEN = "token-of-the-benchmarks"


@dataclass(frozen=True)
class Server:
    """A way to serve a bot.

    Attributes:
        name: For the table.
        url: Where clients and carriers call.
        webhook: The path that a carrier calls.
        pids: The processes by what they do.
    """

    name: str
    url: str
    webhook: str
    pids: dict[str, int]

    def take_call(self) -> tuple[str, str]:
        """Let a call come in, as the carrier's webhook reports it; return the URL of its stream, and its id."""
        url = f"{self.url}{self.webhook}"
        call = {
            "CallSid": f"CA{secrets.token_hex(16)}",
            "From": "+15550001111",
            "To": "+15550002222",
        }
        form = call | {"AccountSid": ACCOUNT, "CallStatus": "ringing", "Direction": "inbound"}
        signature = RequestValidator(TOKEN).compute_signature(url, form)
        headers = {"X-Twilio-Signature": signature}
        request = urllib.request.Request(url, urllib.parse.urlencode(form).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            document = ET.fromstring(answer.read())
        stream = document.find("Connect/Stream")
        if stream is None:
            raise SystemExit(f"{self.name} does not take the call: {ET.tostring(document)!r}")
        # Carriers get wss, which a proxy in front of the server would serve.
        return stream.attrib["url"].replace("wss://", "ws://"), call["CallSid"]


@contextlib.contextmanager
def cordboard(*words: str) -> Iterator[Server]:
    """Run everything, with further arguments of `cordboard up`; the edge is where clients and carriers call."""
    port = _free_port()
    settings = {
        "CORDBOARD_RUNNER_CAPACITY": "64",  # one runner takes as many calls as a benchmark makes
        "CORDBOARD_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "TWILIO_AUTH_TOKEN": TOKEN,
        "TWILIO_ACCOUNT_SID": ACCOUNT,
    }
    # A second runner would load its bots during the measurement.
    command = (CORDBOARD, "up", *FREE_PORTS, "--runners", "1", "--edge-port", str(port), *words)
    with up(command, **settings) as running:
        parts = _parts(running.addresses)
        yield Server("cordboard", running.addresses["edge"], "/phone/twilio", parts)


@contextlib.contextmanager
def pipecat_runner(bot: Path, *, answers_phone: bool = False) -> Iterator[Server]:
    """Run Pipecat's runner in one process; it serves clients, or the webhooks and streams of a carrier."""
    port = _free_port()
    words = ("-t", "twilio", "-x", f"127.0.0.1:{port}") if answers_phone else ()
    url = f"http://127.0.0.1:{port}"
    environment = os.environ | {"LOGURU_LEVEL": "WARNING"}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, str(bot), "--host", "127.0.0.1", "--port", str(port), *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            _wait(url, process)
            yield Server("pipecat runner", url, "/", {"runner": process.pid})
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
            words = (folder / "cmdline").read_text(errors="replace").split("\0")
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
