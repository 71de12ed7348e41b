"""Measures the time of a log line: Cordboard and other loggers, in interleaved rounds.

    python benchmarks/emit/bench_emit.py [--rounds 5] [--lines 50000] [--tables pipe tasks]

`us` is wall-clock time, `cpu` the processor time of all threads; `ratio` refers to the first column.
Each line has three bound fields (session, user, name) and a meta object of four. Every figure is
the median of its rounds; compare within one run. Peers are installed into benchmarks/out/peers.
pino sleeps for 100 ms whenever a pipe is full (so sonic-boom handles EAGAIN): a pipe of the usual
64 KiB shows these stalls; in a pipe of 1 MiB no logger meets a full pipe.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PEERS = ROOT / "benchmarks" / "out" / "peers"
PACKAGES = (
    "msgspec>=0.19", "stringzilla>=3.12", "structlog>=25", "orjson>=3.10", "loguru>=0.7",
    "python-json-logger>=3.2", "opentelemetry-api>=1.27",
)  # fmt: skip
OURS = ("cordboard",)
LINES = (
    "cordboard", "cordboard_direct", "pino_child", "pino_als", "structlog_orjson",
    "python_json_logger_msgspec", "python_json_logger", "loguru_orjson", "loguru_serialize",
    "loguru_bridge", "logging_bridge", "structlog_bridge", "nothing",
)  # fmt: skip
DISABLED = ("cordboard", "structlog_orjson", "python_json_logger", "loguru_serialize", "nothing")
SLOW = ("loguru", "python_json", "cordboard_pretty", "cordboard_watched")
TASKS = (
    "cordboard",
    "pino_child",
    "pino_als",
    "structlog_orjson",
    "python_json_logger",
    "loguru_serialize",
)

FEATURES = (
    "cordboard", "cordboard_direct", "cordboard_unredacted", "cordboard_otel", "cordboard_span",
    "cordboard_pretty", "cordboard_watched",
)  # fmt: skip
PIPE_BYTES = {"pipe": 64 * 1024, "wide": 1024 * 1024}
TABLES = {
    "file": ("A line to a file, us", ["us", "cpu"], LINES, "lines", "file", 1),
    "pipe": ("A line to a pipe with a reader, us", ["us", "cpu"], LINES, "lines", "pipe", 1),
    "wide": ("A line to a pipe of 1 MiB with a reader, us", ["us", "cpu"], LINES, "lines", "wide", 1),
    "disabled": ("A disabled level, us", ["us", "cpu"], DISABLED, "disabled", "file", 4),
    "features": ("What features cost, to a file, us", ["us", "cpu"], FEATURES, "lines", "file", 1),
    "tasks": ("Four tasks, to a pipe, us a call", ["p50", "p99", "p99.9"], TASKS, "tasks", "pipe", 1),
}  # fmt: skip


def install() -> Path:
    """Create the virtual environment with the other loggers, once; return its Python."""
    python = PEERS / "bin" / "python"
    done = PEERS / "installed"
    if not done.exists():
        venv.create(PEERS, with_pip=True)
        pip = (python, "-m", "pip", "install", "-q", "--disable-pip-version-check")
        if subprocess.run([*pip, *PACKAGES], check=False).returncode:
            sys.exit(
                "emit: the libraries to compare with could not be installed; pip says why above"
            )
        done.touch()
    if shutil.which("npm") and not (PEERS / "node_modules" / "pino").exists():
        subprocess.run(
            ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", PEERS, "pino@10"],
            check=False,
        )
        shutil.copy(HERE / "worker.mjs", PEERS / "worker.mjs")
    return python


def run(python: Path, kind: str, mode: str, lines: int, target: str) -> list[float] | None:
    """Run one worker whose stdout is a file, or a pipe with a reader; return its figures."""
    worker = [str(python), str(HERE / "worker.py")]
    if kind.startswith("pino"):
        if not (PEERS / "node_modules" / "pino").exists():
            return None
        shutil.copy(HERE / "worker.mjs", PEERS / "worker.mjs")
        worker = ["node", str(PEERS / "worker.mjs")]
    command = [*worker, kind, mode, str(lines)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with (PEERS / "lines.out").open("wb") as file:
        reader = None
        if target in PIPE_BYTES:
            reader = subprocess.Popen(
                ["cat"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pipesize=PIPE_BYTES[target],
            )
        out = reader.stdin if reader is not None else file
        done = subprocess.run(
            command, stdout=out, stderr=subprocess.PIPE, env=environment, check=False
        )
        if reader is not None and reader.stdin is not None:
            reader.stdin.close()
            reader.wait()
    if done.returncode:
        sys.stderr.buffer.write(done.stderr)
        return None
    figures: list[float] = json.loads(done.stderr.splitlines()[-1])
    return figures


def table(title: str, heads: list[str], rows: dict[str, list[float]]) -> None:
    """Print the medians, fastest first, with their ratio to Cordboard."""
    ours = rows.get("cordboard", [1.0])[0]
    print(f"\n{title}\n{'':28}" + "".join(f"{head:>10}" for head in heads) + f"{'ratio':>8}")
    for kind, figures in sorted(rows.items(), key=lambda row: row[1][0]):
        cells = "".join(f"{figure:10.2f}" for figure in figures)
        print(f"{kind:28}{cells}{figures[0] / ours:8.2f}")


def rounds(
    python: Path, kinds: tuple[str, ...], mode: str, lines: int, target: str, count: int
) -> dict[str, list[float]]:
    """Run every logger once per round; return the median of each figure."""
    found: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
    for _ in range(count):
        for kind in kinds:
            slow = 5 if kind.startswith(SLOW) else 1
            figures = run(python, kind, mode, lines // slow, target)
            if figures is not None:
                found[kind].append(figures)
    return {
        kind: [statistics.median(column) for column in zip(*runs, strict=True)]
        for kind, runs in found.items()
        if runs
    }


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lines", type=int, default=50_000)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--only", nargs="+", help="these loggers alone, and ours")
    wanted = parser.parse_args()
    python = install()
    for name in wanted.tables:
        title, heads, kinds, mode, target, factor = TABLES[name]
        if wanted.only:
            kinds = tuple(kind for kind in kinds if kind in (*OURS, *wanted.only))
        lines = wanted.lines * factor
        table(title, heads, rounds(python, kinds, mode, lines, target, wanted.rounds))


if __name__ == "__main__":
    main()
