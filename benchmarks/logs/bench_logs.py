"""`cordboard logs` beside its peers: whole processes, in interleaved rounds, warm file cache.

    python benchmarks/logs/bench_logs.py [--gb 2] [--one-gb 4] [--rounds 7] [--growth 1,2] [--slow]

The corpus is made once, in benchmarks/out/logs. Compare ratios within one run. Peers are installed
into benchmarks/out/peers-logs; jq and lnav are shown where they are installed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from _table import median, show

from logs import corpus, peers

OUT = Path(__file__).parents[1] / "out" / "logs"
GB = 1_000_000_000
LINES = 800_000
CARRIED_LINES = 530_000
HEAD = ("", "s", "cpu s", "MB", "lines", "ratio")
Commands = Mapping[str, Sequence[str] | None]


@dataclass(frozen=True)
class Run:
    """One process: how long, how much of the processors, how much memory, how many lines."""

    seconds: float
    cpu_s: float
    peak_mb: float
    lines: int


def run(command: Sequence[str]) -> Run:
    """Run a command; its output is counted by a reader that keeps up."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    # In memory: on a disk, the first command after one with a large output took 0.2 s longer.
    result = Path(f"/dev/shm/cordboard-bench-{os.getpid()}")
    with result.open("wb") as file:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL, env=environment)
        _, _, used = os.wait4(process.pid, 0)
        took = time.perf_counter() - began
    process.returncode = 0
    lines = 0
    with result.open("rb") as file:
        while chunk := file.read(1 << 20):
            lines += chunk.count(b"\n")
    result.unlink()
    return Run(took, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, lines)


def table(title: str, commands: Commands, rounds: int, base: str) -> None:
    """Run every command once a round; print medians, with the ratio to `base`."""
    known = {name: command for name, command in commands.items() if command is not None}
    for command in known.values():
        run(command)
    runs: dict[str, list[Run]] = {name: [] for name in known}
    for _ in range(rounds):
        for name, command in known.items():
            runs[name].append(run(command))
    unit = median([r.seconds for r in runs[base]])
    rows = []
    for name, found in runs.items():
        took = median([r.seconds for r in found])
        rows.append(
            (
                name,
                f"{took:.3f}",
                f"{median([r.cpu_s for r in found]):.3f}",
                f"{max(r.peak_mb for r in found):.0f}",
                str(found[0].lines),
                f"{took / unit:.2f}",
            )
        )
    show(f"{title}; ratio to {base}", HEAD, rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gb", type=float, default=2, help="size of the corpus of 40 files")
    parser.add_argument("--one-gb", type=float, default=4, help="size of the single file")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--growth", default="1,2", help="sizes of folders in GB, e.g. 1,10,20")
    parser.add_argument("--slow", action="store_true", help="with peers that take a minute")
    parser.add_argument("--clean", action="store_true", help="delete the corpus afterwards")
    wanted = parser.parse_args()
    print(f"writes about {disk_gb(wanted):.0f} GB into {OUT}; --clean or `make clean` removes it")
    peers.install()
    many, one, dense = OUT / "many", OUT / "one", OUT / "dense"
    corpus.make(many, int(wanted.gb * GB), 40, 6)
    corpus.make(one, int(wanted.one_gb * GB), 1, 8)
    corpus.make(dense, LINES * corpus.LINE_BYTES, 40, 1 / 6)
    sessions(many, one, wanted)
    prints(one, wanted)
    merges(dense, wanted)
    fields(dense, wanted)
    carriers(wanted)
    carried_sessions(wanted)
    growth(wanted)
    starts(wanted)
    if wanted.clean:
        shutil.rmtree(OUT)
    else:
        print(f"\n{OUT} holds {size_gb(OUT):.1f} GB for the next run; `make clean` removes it")


def disk_gb(wanted: argparse.Namespace) -> float:
    """What the corpora take: of 40 files, of one file, the folders that grow by the same 1 GB, and copies."""
    grown = [float(size) for size in wanted.growth.split(",") if size]
    return float(wanted.gb + wanted.one_gb + 4 + sum(max(0, size - 1) for size in grown))


def size_gb(folder: Path) -> float:
    """What a folder takes; a file that has two names counts once."""
    files = {item.stat().st_ino: item.stat() for item in folder.rglob("*") if item.is_file()}
    return sum(file.st_blocks * 512 for file in files.values()) / GB


def since(hours: float) -> str:
    """The beginning of the last ten minutes."""
    return corpus.stamp(corpus.START + hours * 3600 - 600)


def sessions(many: Path, one: Path, wanted: argparse.Namespace) -> None:
    who = ("--session", corpus.WANTED, "-o", "raw", "-q")
    slow = {"lnav": peers.lnav_session(many, corpus.WANTED)} if wanted.slow else {}
    scan = peers.shell(f"{peers.ripgrep(corpus.WANTED, many)} | LC_ALL=C sort")
    table(
        f"One session out of {wanted.gb:g} GB in 40 files (goal: 1.0)",
        {"ripgrep | sort": scan, "cordboard": peers.cordboard("--dir", str(many), *who), **slow},
        wanted.rounds,
        "ripgrep | sort",
    )
    last = ("--since", since(6))
    table(
        "The same, of the last ten minutes (goal: 0.4)",
        {"ripgrep | sort": scan, "cordboard": peers.cordboard("--dir", str(many), *who, *last)},
        wanted.rounds,
        "ripgrep | sort",
    )
    last = ("--since", since(8))
    table(
        f"The same, of the last ten minutes of one file of {wanted.one_gb:g} GB (goal: 0.1)",
        {
            "ripgrep | sort": peers.shell(f"{peers.ripgrep(corpus.WANTED, one)} | LC_ALL=C sort"),
            "cordboard": peers.cordboard("--dir", str(one), *who, *last),
        },
        wanted.rounds,
        "ripgrep | sort",
    )


def prints(one: Path, wanted: argparse.Namespace) -> None:
    prefix = since(8)[:15]
    pattern = rf'^\{{"timestamp":"{prefix}'
    table(
        f"Print the last ten minutes of one file of {wanted.one_gb:g} GB (goal: 0.15)",
        {
            "ripgrep by prefix": peers.shell(peers.ripgrep(pattern, one, fixed=False)),
            "cordboard": peers.cordboard("--dir", str(one), "--since", since(8), "-o", "raw", "-q"),
        },
        wanted.rounds,
        "ripgrep by prefix",
    )


def merges(dense: Path, wanted: argparse.Namespace) -> None:
    table(
        f"Merge {LINES} lines of ten minutes in 40 files (goal: 0.8 million a second, under 100 MB)",
        {
            "sort": peers.shell(f"LC_ALL=C sort {dense}/*.jsonl"),
            "cordboard": peers.cordboard("--dir", str(dense), "-o", "raw", "-q"),
        },
        wanted.rounds,
        "sort",
    )


def fields(dense: Path, wanted: argparse.Namespace) -> None:
    test = "level = error and service = runner and meta.interrupted = true"
    table(
        f"Filter {LINES} lines by three fields (goal: 20 times as fast as jq)",
        {
            "jq | sort": peers.jq_fields(dense),
            "duckdb": peers.script(peers.DUCKDB, dense),
            "polars": peers.script(peers.POLARS, dense),
            "cordboard": peers.cordboard("--dir", str(dense), "--where", test, "-o", "raw", "-q"),
        },
        max(1, wanted.rounds // 2),
        "cordboard",
    )


def carriers(wanted: argparse.Namespace) -> None:
    """The same 530,000 lines in 8 files, as nodes, agents and other loggers leave them."""
    source = OUT / "carried"
    corpus.make(source, CARRIED_LINES * corpus.LINE_BYTES, 8, 1)
    commands: dict[str, Sequence[str]] = {}
    for number, carrier in enumerate(corpus.CARRIERS):
        folder = OUT / f"carried-{number}"
        corpus.carried(folder, source, carrier)
        commands[carrier] = peers.cordboard("--dir", str(folder), "-o", "json", "-q")
        commands[f"{carrier}: ripgrep | sort"] = peers.shell(
            f"{peers.ripgrep('', folder)} | LC_ALL=C sort"
        )
        commands[f"{carrier}: duckdb"] = peers.script(peers.DUCKDB_LINES, folder)
        if carrier == "Docker's JSON" and shutil.which("jq"):
            commands[f"{carrier}: jq | sort"] = peers.shell(f"jq -r .log {folder}/*.jsonl | sort")
    table(
        f"Print {CARRIED_LINES} lines (goals: 0.8, 0.6, 0.4, 0.3 million a second, under 100 MB)",
        commands,
        max(1, wanted.rounds // 2),
        "bare",
    )


def carried_sessions(wanted: argparse.Namespace) -> None:
    """One session out of ten copies of each of these folders, one folder after the other."""
    who = ("--session", corpus.WANTED, "-o", "raw", "-q")
    for number, carrier in enumerate(corpus.CARRIERS):
        folder = OUT / "copies"
        folder.mkdir(exist_ok=True)
        for file in (OUT / f"carried-{number}").iterdir():
            for copy in range(10):  # no links: a file that has two names is read once
                shutil.copyfile(file, folder / f"{copy}-{file.name}")
        scan = peers.shell(f"{peers.ripgrep(corpus.WANTED, folder)} | LC_ALL=C sort")
        table(
            f"One session out of {size_gb(folder):.1f} GB in 80 files: {carrier} (goal: 1.25)",
            {"ripgrep | sort": scan, "cordboard": peers.cordboard("--dir", str(folder), *who)},
            wanted.rounds,
            "ripgrep | sort",
        )
        shutil.rmtree(folder)


def growth(wanted: argparse.Namespace) -> None:
    sizes = [float(size) for size in wanted.growth.split(",") if size]
    commands: dict[str, Sequence[str]] = {}
    for size in sizes:
        folder = OUT / f"grown-{size:g}"
        corpus.make(OUT / "one-gb", GB, 40, 6)
        corpus.older(folder, OUT / "one-gb", int(size * GB))
        commands[f"{size:g} GB"] = peers.cordboard(
            "--dir", str(folder), "--since", since(6), "--session", corpus.WANTED, "-o", "raw", "-q"
        )
    if commands:
        table(
            "One session of the last ten minutes, of folders of several sizes (goal: the same)",
            commands,
            wanted.rounds,
            f"{sizes[0]:g} GB",
        )


def starts(wanted: argparse.Namespace) -> None:
    table(
        "Start (goal: --help under 0.08 s)",
        {"python -c pass": (sys.executable, "-c", "pass"), "--help": peers.cordboard("--help")},
        3 * wanted.rounds,
        "python -c pass",
    )


if __name__ == "__main__":
    main()
