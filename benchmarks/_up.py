"""Starts everything for a benchmark: `cordboard up` on free ports, in a directory of its own."""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
CORDBOARD = str(Path(sys.executable).with_name("cordboard"))
FREE_PORTS = [
    part
    for name in ("gateway", "runner", "operator", "interface", "edge")
    for part in (f"--{name}-port", "0")
]
STOP_TIMEOUT_S = 30


@dataclass(frozen=True)
class Running:
    """What `up` said when it was ready."""

    addresses: dict[str, str]
    secret: str
    ready_s: float
    pid: int


def environment(directory: str, secret: str) -> dict[str, str]:
    """Nothing of the user's: a state directory and a secret of our own, byte code allowed."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CORDBOARD_", "BOT_", "LOG_"))
        and name not in {"REDIS_URL", "PYTHONDONTWRITEBYTECODE"}
    }
    ours = {"XDG_STATE_HOME": directory, "BOT_CONTROL_SHARED_SECRET": secret}
    # It is overloaded on purpose, by callers who call again at once.
    bounds = {"CORDBOARD_OVERLOAD_LAG_MS": "0", "CORDBOARD_INTERFACE_JOINS_PER_MINUTE": "1000"}
    return kept | ours | bounds


@contextlib.contextmanager
def up(
    command: Sequence[str] = (CORDBOARD, "up", *FREE_PORTS, "--runners", "1"), **settings: str
) -> Iterator[Running]:
    """Run `up` until the block ends; `settings` are environment variables.

    By default with one runner: a second one would load its bots during the measurement.
    """
    secret = secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory(prefix="cordboard-bench-") as directory:
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(directory, secret) | settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            addresses = _ready(process)
            yield Running(addresses, secret, time.perf_counter() - began, process.pid)
        finally:
            _stop(process)


def memory_mb(pid: int) -> float:
    """The memory of a process and its descendants, each shared page counted once (PSS)."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    pss_kb = next(line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:"))
    return int(pss_kb) / 1024 + sum(memory_mb(int(child)) for child in children)


def _ready(process: subprocess.Popen[bytes]) -> dict[str, str]:
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        said.append(line.decode(errors="replace"))
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            if record.get("event") == "up.ready":
                threading.Thread(target=process.stdout.read, daemon=True).start()
                return dict(record["meta"])
    raise SystemExit(f"cordboard up did not get ready:\n{''.join(said[-20:])}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
