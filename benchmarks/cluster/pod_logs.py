"""All lines of one session out of many pods, by `cordboard logs`: time, memory, requests at a time.

Beside it, curl reads the same logs with as many requests at a time, and throws them away: the least that a reader
needs on this machine, as the API server and the nodes share its processors.
"""

import base64
import datetime as dt
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _table import median, show
from lightkube.config.kubeconfig import KubeConfig

from cluster_support import Cluster, cluster_config
from tests_support import until

SESSION = "call-wanted-7f3a"
# In each of the first pods, as those of gateway, operator and runner of a call.
PODS_OF_SESSION, LINES_OF_POD = 4, 8
LINES_OF_SESSION = PODS_OF_SESSION * LINES_OF_POD
AT_ONCE = 20
# Runs `cordboard logs`, and writes how many requests to the API were open at a time, at most.
COUNTED = """
import contextlib, sys
from cordboard.cli import main
from cordboard.kube.client import Kube

now = most = 0

def enter(by):
    global now, most
    now += by
    most = max(most, now)

def counted(method):
    @contextlib.asynccontextmanager
    async def stream(self, *args, **params):
        enter(1)
        try:
            async with method(self, *args, **params) as chunks:
                yield chunks
        finally:
            enter(-1)
    return stream

async def json(self, request, method=Kube._json):
    enter(1)
    try:
        return await method(self, request)
    finally:
        enter(-1)

Kube._json, Kube._stream, Kube.log = json, counted(Kube._stream), counted(Kube.log)
file, sys.argv = sys.argv[1], ["cordboard", *sys.argv[2:]]
try:
    sys.exit(main())
finally:
    open(file, "w").write(str(most))
"""


@dataclass(frozen=True)
class Run:
    """One run of the command."""

    seconds: float
    processor_s: float
    peak_mb: float
    requests: int
    lines: int


async def measure(cluster: Cluster, *, pods: int, megabytes: float, rounds: int) -> None:
    """Write the logs, read them, and print the figures."""
    size = round(megabytes * 1_000_000)
    files = [_write(cluster.folder / f"{number}.jsonl", number, size) for number in range(pods)]
    for number, file in enumerate(files):
        cluster.pod(f"p{number:03d}", {"script": f"cat '{file}'", "name": "runner"})
    await until(lambda: _done(cluster) == len(files), 900)
    floors, runs = [], []
    for _ in range(rounds):  # in turns, as the load of a machine changes
        floors.append(_floor(cluster))
        runs.append(_run(cluster))
    floor, seconds = median(floors), median([run.seconds for run in runs])
    show(
        f"All lines of one session out of {len(files)} pods, {pods * megabytes:.0f} MB in all",
        ["", "s", "of the floor", "s of processor", "MB of memory", "requests at a time", "lines"],
        [["curl, to nowhere", floor, 1.0, "", "", AT_ONCE, ""],
         ["cordboard logs --session", seconds, seconds / floor,
          median([run.processor_s for run in runs]),
          max(run.peak_mb for run in runs), max(run.requests for run in runs),
          min(run.lines for run in runs)]],
    )  # fmt: skip


def _floor(cluster: Cluster) -> float:
    """Return the seconds in which curl reads all logs."""
    known = KubeConfig.from_file(cluster_config()).get()
    assert known is not None
    assert known.user is not None
    server, ca = known.cluster.server, cluster.folder / "ca.pem"
    if known.cluster.certificate_auth_data:
        ca.write_bytes(base64.b64decode(known.cluster.certificate_auth_data))
    lines = [f"cacert = {known.abs_file(known.cluster.certificate_auth or ca)}",
             f'header = "Authorization: Bearer {known.user.token}"']  # fmt: skip
    for number in range(len(cluster.pods())):
        path = f"/api/v1/namespaces/{cluster.namespace}/pods/p{number:03d}/log"
        lines += [
            f'url = "{server}{path}?container=runner&timestamps=true"',
            'output = "/dev/null"',
        ]
    file = cluster.folder / "curl"
    file.write_text("\n".join(lines))
    words = (
        "--http1.1",
        "--silent",
        "--no-progress-meter",
        "--show-error",
        "--fail",
        "--parallel",
        "--parallel-max",
        str(AT_ONCE),
    )
    began = time.monotonic()
    subprocess.run(["curl", *words, "--config", str(file)], check=True)
    return time.monotonic() - began


def _write(file: Path, number: int, size: int) -> Path:
    """Write the lines of one process: one line in 300 bytes, the session's ones in the middle."""
    count = size // 300
    own = range(count // 2, count // 2 + LINES_OF_POD) if number < PODS_OF_SESSION else range(0)
    began = time.time() - 3600
    lines = []
    for n in range(count):
        at = dt.datetime.fromtimestamp(began + n, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        record = {
            "timestamp": at, "level": "info", "message": "Turn ended", "service": "runner",
            "tag": "call", "sessionId": SESSION if n in own else f"call-{n // 240:06d}-{n % 40:02d}",
            "userId": f"u-{n % 1000}", "userName": "Ada", "room": f"webrtc:room-{n % 100}",
            "event": "turn.ended", "meta": {"turn": n % 40, "duration_ms": n % 5000, "note": "x" * 40},
            "boot": f"{number:08x}", "seq": n + 1,
        }  # fmt: skip
        lines.append(json.dumps(record, separators=(",", ":")))
    file.write_text("\n".join(lines) + "\n")
    return file


def _done(cluster: Cluster) -> int:
    return sum(bool(pod.status and pod.status.phase == "Succeeded") for pod in cluster.pods())


def _run(cluster: Cluster) -> Run:
    config = cluster.folder / "cordboard.toml"
    source = {
        "type": "kubernetes",
        "kubeconfig": str(cluster_config()),
        "namespaces": [cluster.namespace],
    }
    words = "\n".join(f"{key} = {json.dumps(value)}" for key, value in source.items())
    config.write_text(f"[[environments.bench]]\n{words}\n")
    counted, output = cluster.folder / "counted", cluster.folder / "output"
    command: Sequence[Any] = (
        sys.executable, "-c", COUNTED, counted, "logs", "--config", config, "--env", "bench",
        "--session", SESSION, "-o", "raw",
    )  # fmt: skip
    with output.open("wb") as file:
        began = time.monotonic()
        process = subprocess.Popen([*map(str, command)], stdout=file, stderr=subprocess.PIPE)
        assert process.stderr is not None
        told = process.stderr.read().decode()
        _, _, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
    process.returncode = 0
    lines = sum(SESSION in line for line in Path(output).read_text().splitlines())
    if lines < LINES_OF_SESSION:
        sys.exit(f"expected {LINES_OF_SESSION} lines, got {lines}:\n{told}")
    processor_s = used.ru_utime + used.ru_stime
    return Run(seconds, processor_s, used.ru_maxrss / 1024, int(counted.read_text()), lines)
