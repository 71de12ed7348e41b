"""`cordboard why` on calls with planted causes: the confusion matrix, wrong blame, seconds a call.

    python benchmarks/why/bench_why.py [--calls 400] [--seed 43] [--cause NAME ...] [--keep DIR]
    python benchmarks/why/bench_why.py --judge DIR [--cause NAME ...]

Each call is real: `cordboard call` speaks with a bot of Pipecat's, whose services are doubles with planted delays and
errors; its datagrams are lost or late; runners are killed, Redis is stopped, queues are full. Lines of a caller's page
are made by hand. The command is then asked about each call, by its id alone. Goals: right in 95 %, wrong blame in at
most 1 %, under 2 s a call. The seed of the figures in the docs was never used while the rules were written.

What was planted is measured beside the records (`evidence.py`): calls in which it did not come about, or not alone, are
counted apart. `--keep` keeps the logs and these measures, and `--judge` asks again about kept calls, after a change of
the rules.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from _table import quantile, show
from why.calls import LEASE_S, Stage, write_logs
from why.evidence import Evidence, not_planted, prefer, second_cause
from why.impairment import Impairment, install
from why.pages import PageLines
from why.planted_services import PlantedServices
from why.plantings import CAUSES, Planting, plantings

from cordboard.emit import configure
from cordboard.processes import adopt_orphans, descendants_of
from cordboard.up.embedded import EmbeddedServer
from corpus.doubles_common import KEY
from corpus.service_doubles import Doubles
from plane_support import Processes
from tests_support import served

NO_BLAME = {"unknown", "lines_lost", "healthy"}
BOT_MEMORY_MB = "900"
KEPT = "planted.txt"  # no name of a log file


@dataclass
class Asked:
    """What the command said of one call."""

    planting: Planting
    cause: str
    words: str
    status: int
    seconds: float
    apart: str = ""  # why the call says nothing about the rules

    @property
    def is_right(self) -> bool:
        return self.cause == self.planting.cause

    @property
    def is_wrong_blame(self) -> bool:
        return not self.is_right and self.cause not in NO_BLAME


async def make(
    calls: list[Planting],
    folder: Path,
    logs: Path,
    evidence: dict[str, Evidence],
    options: argparse.Namespace,
) -> None:
    """Make all calls, write the logs of all processes, and add what is measured of each call."""
    redis = EmbeddedServer()
    redis.start()
    assert redis.process is not None
    services = PlantedServices(Doubles().app(), evidence=evidence)
    try:
        async with served(services) as url:
            over = {
                "OPENAI_API_KEY": KEY,
                "SERVICE_DOUBLES_URL": url,
                "CORDBOARD_LEASE_S": LEASE_S,
                "CORDBOARD_USER_ABSENT_S": "25",
                "CORDBOARD_OFFER_TIMEOUT_S": "5",
                "CORDBOARD_BOT_MEMORY_MB": BOT_MEMORY_MB,
            }
            processes = Processes(folder, redis.url, over)
            fd = os.open(logs / "call.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            configure(service="call", fd=fd, bridges=False, session_from_environment=False)
            page = PageLines(logs / "interface.jsonl")
            stage = Stage(
                processes, redis.process.pid, url, services.plans, evidence, page,
                options.at_once, options.nice,
            )  # fmt: skip
            try:
                await stage.run(calls)
                await asyncio.sleep(1)  # what a killed process has not written is lost
            finally:
                processes.stop()
                write_logs(processes, logs)
    finally:
        redis.stop()
        for pid in descendants_of(os.getpid(), 1000):  # a cold runner outlives its operator
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def lose_lines(calls: list[Planting], logs: Path, evidence: dict[str, Evidence]) -> None:
    """Take lines out of the logs of the calls that lose some."""
    lost = {one.session: one.how for one in calls if one.cause == "lines_lost"}
    for path in logs.rglob("*.jsonl"):
        records = [json.loads(line) for line in path.read_text().splitlines()]
        own: Counter[tuple[str, str]] = Counter()
        kept = []
        for record in records:
            session, service = record["sessionId"], record["service"]
            how = lost.get(session, "")
            own[session, service] += 1
            if how and _is_lost(how, record, own[session, service]):
                evidence[session].removed += 1
                continue
            kept.append(record)
        path.write_text("".join(json.dumps(r, separators=(",", ":")) + "\n" for r in kept))


def _is_lost(how: str, record: dict[str, object], number: int) -> bool:
    service, event = record["service"], record.get("event")
    if how == "bot":  # all of a bot, as of a file that is gone
        return service == "bot"
    if how == "bot's end":
        return service == "bot" and number > 8
    if how == "gateway":
        return service == "gateway"
    return service == "runner" and event in {"bot.started", "session.ended", "start.received"}


def keep(calls: list[Planting], logs: Path, evidence: dict[str, Evidence]) -> None:
    """Write what was planted and what was measured, beside the logs: one call on each line."""
    with (logs / KEPT).open("w") as file:
        for one in calls:
            row = asdict(replace(one, impairment=None))
            row["impairment"] = (one.impairment or Impairment()).plan()
            row = {"planting": row, "evidence": evidence[one.session].as_dict()}
            file.write(json.dumps(row) + "\n")


def kept(logs: Path) -> Iterator[tuple[Planting, Evidence]]:
    """Return what `keep` wrote."""
    for line in (logs / KEPT).read_text().splitlines():
        row = json.loads(line)
        impairment = Impairment(**row["planting"].pop("impairment"))
        yield Planting(**row["planting"], impairment=impairment), Evidence(**row["evidence"])


def ask(planting: Planting, evidence: Evidence, logs: Path) -> Asked:
    """Ask the command about one call."""
    command = [
        sys.executable, "-m", "cordboard", "why", "--dir", str(logs), "-o", "json", planting.session
    ]  # fmt: skip
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    seconds = time.perf_counter() - began
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        answer = {"cause": "no answer", "words": done.stderr}
    missed, second = not_planted(planting, evidence), second_cause(planting, evidence)
    apart = f"not planted: {missed}" if missed else f"not alone: {second}" if second else ""
    return Asked(planting, answer["cause"], answer["words"], done.returncode, seconds, apart)


def show_matrix(title: str, asked: list[Asked]) -> None:
    """Print which cause got which answers, as numbers of the rows."""
    causes = [cause for cause in CAUSES if any(one.planting.cause == cause for one in asked)]
    answers = [*causes, *sorted({one.cause for one in asked} - set(causes))]
    short = {cause: f"{number + 1}" for number, cause in enumerate(answers)}
    matrix = Counter((one.planting.cause, one.cause) for one in asked)
    rows: list[list[object]] = []
    for cause in causes:
        counts: list[object] = [matrix[cause, answer] or "." for answer in answers]
        rows.append([f"{short[cause]} {cause}", *counts])
    show(f"{len(asked)} {title}", ["planted", *(short[answer] for answer in answers)], rows)
    others = [f"{short[name]} {name}" for name in answers if name not in causes]
    print(f"  further answers: {', '.join(others) or 'none'}")


def show_figures(what: str, asked: list[Asked]) -> None:
    """Print how many answers are right, and how many blame a wrong cause."""
    right = sum(one.is_right for one in asked)
    blamed = sum(one.is_wrong_blame for one in asked)
    share = 100 / max(len(asked), 1)
    print(
        f"  {what}: right {right} of {len(asked)} ({share * right:.1f} %; goal 95 %), "
        f"wrong blame {blamed} ({share * blamed:.1f} %; goal at most 1 %)"
    )


def report(asked: list[Asked]) -> None:
    """Print the confusion matrix and the figures."""
    counted = [one for one in asked if not one.apart]
    show_matrix("calls: planted causes (rows), answers (columns)", counted)
    show_figures("planted, and alone", counted)
    for what in ("not planted", "not alone"):
        show_figures(what, [one for one in asked if one.apart.startswith(what)])
    show_figures("all calls", asked)
    seconds = [one.seconds for one in asked]
    print(
        f"  seconds a call: median {quantile(seconds, 0.5):.2f}, p95 {quantile(seconds, 0.95):.2f}, "
        f"worst {max(seconds):.2f} (goal under 2)"
    )
    for one in asked:
        if not one.is_right or one.apart:
            what = f"{one.planting.session} {one.planting.cause} ({one.planting.how})"
            print(f"  {what}: {one.cause}: {one.words} {one.apart and f'[{one.apart}]'}")


def judge(logs: Path, causes: list[str]) -> None:
    """Ask about each kept call, and print the matrix."""
    rows = [row for row in kept(logs) if row[0].cause in causes]
    with ThreadPoolExecutor(2) as pool:
        asked = list(pool.map(lambda row: ask(row[0], row[1], logs), rows))
    report(asked)


def place(options: argparse.Namespace, directory: Path, logs: Path) -> None:
    """Make the calls, and keep all that is asked about later."""
    calls = plantings(options.calls, options.seed, tuple(options.cause))
    logs.mkdir(parents=True)
    evidence: dict[str, Evidence] = defaultdict(Evidence)
    try:
        asyncio.run(make(calls, directory, logs, evidence, options))
    finally:  # those of a run that is interrupted are kept as well
        made = [one for one in calls if evidence[one.session].ended]
        lose_lines(made, logs, evidence)
        keep(made, logs, evidence)


def options_of(words: list[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--calls", type=int, default=400, help="number of calls (default 400)")
    add("--seed", type=int, default=43, help="what is planted (default 43)")
    add("--at-once", type=int, default=4, help="calls at the same time (default 4)")
    add("--cause", nargs="+", choices=CAUSES, default=[*CAUSES])
    add("--keep", type=Path, help="keep the logs and the measures in a new directory")
    add("--judge", type=Path, help="make no call: ask again about those kept in a directory")
    add("--nice", type=int, default=0, help="nice value of the runners and of this process (needs root)")  # fmt: skip
    return parser.parse_args(words)


def main() -> None:
    """Make the calls, ask about each, print the matrix."""
    options = options_of()
    if options.judge:
        judge(options.judge, options.cause)
        return
    prefer(os.getpid(), options.nice)
    adopt_orphans()
    install()
    began = time.monotonic()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="cordboard-why-") as directory:
        logs = options.keep or Path(directory) / "logs"
        place(options, Path(directory), logs)
        print(f"  the calls took {time.monotonic() - began:.0f} s")
        print(f"  load before them {load:.1f}, after them (of 15 min) {os.getloadavg()[2]:.1f}")
        judge(logs, options.cause)


if __name__ == "__main__":
    main()
