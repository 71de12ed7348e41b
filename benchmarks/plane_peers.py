"""Job queues that move the same payload through the same Redis, for plane.py --assign --peers."""

import asyncio
import os
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path

HERE = Path(__file__).parent
PEERS = HERE / "out" / "peers-plane"
PACKAGES = {  # an environment each: they want different releases of redis
    "arq": ("arq>=0.26", "aiohttp>=3.9"),
    "taskiq": ("taskiq>=0.11", "taskiq-redis>=1", "aiohttp>=3.9"),
}
WORKERS = 2  # processes of each, as there are two operators
COMMANDS = {
    "arq": ("arq", "plane_peer_worker.WorkerSettings"),
    "taskiq": (
        *("taskiq", "worker", "plane_peer_worker:broker"),
        *("--workers", "1", "--max-async-tasks", "64", "--log-level", "WARNING"),
    ),
}
GIVE_UP_S = 120.0


def install() -> str:
    """Make the environments of the peers, once; return why there are none, or nothing."""
    for peer, packages in PACKAGES.items():
        done = PEERS / peer / "installed"
        if done.exists():
            continue
        venv.create(PEERS / peer, with_pip=True)
        made = subprocess.run(
            [PEERS / peer / "bin" / "python", "-m", "pip", "install", "-q", *packages],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            return (made.stderr.strip().splitlines() or ["pip failed"])[-1]
        done.touch()
    return ""


async def rate(peer: str, redis_url: str, file: Path, jobs: int, url: str | None) -> float:
    """Queue jobs, then let two workers take them; return jobs a second."""
    _empty(file)
    scripts = PEERS / peer / "bin"
    environment = {
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(HERE),
        "PEER": peer,
        "PEER_REDIS": redis_url,
        "PEER_FILE": str(file),
        **({"PEER_URL": url} if url else {}),
    }
    python = str(scripts / "python")
    queueing = await asyncio.create_subprocess_exec(
        python, str(HERE / "plane_peer_worker.py"), str(jobs), env=environment
    )
    assert await queueing.wait() == 0
    script, *words = COMMANDS[peer]
    workers = [
        await asyncio.create_subprocess_exec(
            python,
            str(scripts / script),
            *words,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for _ in range(WORKERS)
    ]
    try:
        first, began = await _done(file, 1)
        _, ended = await _done(file, jobs)
    finally:
        for worker in workers:
            os.killpg(worker.pid, signal.SIGKILL)
        await asyncio.gather(*(worker.wait() for worker in workers))
    return (jobs - first) / (ended - began)


async def _done(file: Path, wanted: int) -> tuple[int, float]:
    deadline = time.monotonic() + GIVE_UP_S
    while (done := _size(file)) < wanted:
        if time.monotonic() > deadline:
            sys.exit(f"only {done} of {wanted} jobs were done")
        await asyncio.sleep(0.002)
    return done, time.perf_counter()


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _size(file: Path) -> int:
    return file.stat().st_size
