"""The latency as heard against known times: in the room page in a real Chromium, and in `cordboard call`.

The caller speaks a file whose speeches end at known places, and the bot answers with a known sound. A second recorder at
the caller's end, which knows both sounds, finds the places where they are (by correlation, without any detection of
voice); the distance between them is what `turn.heard` should say.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from _table import median, quantile, show
from _up import CORDBOARD, FREE_PORTS, ROOT, Running, up
from heard import call_side, known_sound, page_side
from heard.known_sound import UP, Samples

from browser.browser_support import find_chromium

BEFORE_S = 7.0  # until the bot has greeted
CALL_TURNS_MAX = 100  # a file of `cordboard call` has at most five minutes
NEAR_S = 0.5  # between the end of a speech by the witness and by the line
GOAL_MS = 30.0
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Turn:
    """When a speech ended and its answer began, in seconds since 1970."""

    ended: float
    began: float

    @property
    def s(self) -> float:
        """The latency."""
        return self.began - self.ended


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=40, help="200 for the figures of the docs")
    parser.add_argument(
        "--seconds", type=int, default=30, help="of each of the four calls for the costs"
    )
    parser.add_argument("--only", choices=["page", "call"])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hello, phrase = known_sound.phrases(known_sound.read(ROOT / "examples" / "hello.wav"))
        answer = known_sound.answer(hello)
        known_sound.write(folder / "answer.wav", answer)
        command = (CORDBOARD, "up", *FREE_PORTS, "--runners", "1", "--bot")
        bot = str(HERE / "answering_bot.py")
        with up((*command, bot), HEARD_ANSWER=str(folder / "answer.wav")) as running:
            if args.only != "call":
                page(running, folder, phrase, answer, args.turns, args.seconds)
            if args.only != "page":
                call(running, folder, phrase, answer, args.turns)


def page(
    running: Running, folder: Path, phrase: Samples, answer: Samples, turns: int, seconds: int
) -> None:
    """Measure in the page."""
    if find_chromium() is None:
        sys.exit(
            "heard: needs Chromium (Debian: apt-get install chromium), or CHROMIUM=/path/to/it"
        )
    said = known_sound.speeches(phrase, turns, BEFORE_S)
    sound = known_sound.file_of(said, after_s=seconds)
    file = known_sound.write(folder / "microphone.wav", sound, UP)
    url = running.addresses["interface"]
    lasts_s = said[-1].begins_s + known_sound.PERIOD_S
    session_id, sent, played = asyncio.run(page_side.record(url, file, lasts_s))
    known = [Turn(*times) for times in known_sound.turns_in(said, answer, sent, played)]
    heard = [heard_of(line["meta"]) for line in lines_of(running, session_id)]
    report("the room page in Chromium", known, heard, turns)
    difference(running, [session_id])
    with_it, without = asyncio.run(page_side.costs(url, file, seconds))
    print(
        f"A call took {with_it:.1%} of a core in the browser, {without:.1%} without the measurement: "
        f"{with_it - without:+.2%} (goal: under 1 %)."
    )


def call(running: Running, folder: Path, phrase: Samples, answer: Samples, turns: int) -> None:
    """Measure in `cordboard call`."""
    known: list[Turn] = []
    heard: list[Turn] = []
    ids = []
    for first in range(0, turns, CALL_TURNS_MAX):
        said = known_sound.speeches(phrase, min(CALL_TURNS_MAX, turns - first), 0.0)
        file = known_sound.write(folder / "say.wav", known_sound.file_of(said, 0.0), UP)
        ids.append(f"heard-{first}")
        gateway = running.addresses["gateway"]
        lines, sent, played = asyncio.run(call_side.record(gateway, running.secret, file, ids[-1]))
        known += [Turn(*times) for times in known_sound.turns_in(said, answer, sent, played)]
        heard += [heard_of(line["meta"]) for line in lines if line.get("event") == "turn.heard"]
        with (Path(running.addresses["logs"]) / "call.jsonl").open("a") as log:
            log.writelines(f"{json.dumps(line)}\n" for line in lines)
    report("cordboard call", known, heard, turns)
    difference(running, ids)
    share = call_side.cost(known_sound.packed(phrase), known_sound.packed(phrase))
    print(f"The measurement took {share:.2%} of a core while both spoke (goal: under 1 %).")


def heard_of(meta: dict[str, Any]) -> Turn:
    """Return what a line says, without the devices, of which the witness knows nothing."""
    ended = datetime.fromisoformat(meta["user_ended_at"]).timestamp()
    return Turn(ended, ended + (meta["heard_ms"] - meta.get("device_ms", 0.0)) / 1000)


def lines_of(running: Running, session_id: str) -> list[dict[str, Any]]:
    """Return what a page has logged of its turns."""
    records = logs(running, "--session", session_id, "--service", "browser", "-o", "json")
    return [
        one for one in map(json.loads, records.splitlines()) if one.get("event") == "turn.heard"
    ]


def logs(running: Running, *words: str) -> str:
    """Ask the logs; return what was printed."""
    settings = os.environ | {"CORDBOARD_LOG_DIR": running.addresses["logs"]}
    done = subprocess.run(
        [CORDBOARD, "logs", "--local", *words],
        env=settings,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


def report(end: str, known: Sequence[Turn], heard: Sequence[Turn], turns: int) -> None:
    """Print the errors of the turns that both know."""
    pairs = list(pairs_of(known, heard))
    errors = [abs(one.s - other.s) * 1000 for one, other in pairs]
    signed = [(other.s - one.s) * 1000 for one, other in pairs]
    if not pairs:
        sys.exit(f"heard: no turn of {len(known)} known and {len(heard)} heard ones is the same")
    show(
        f"{end}, {turns} turns (goal: within {GOAL_MS:.0f} ms at p95)",
        ("", "p50", "p95", "worst"),
        [
            ("latency as heard, ms", *_three([other.s * 1000 for _, other in pairs])),
            ("error against the file, ms", *_three(errors)),
        ],
    )
    print(
        f"{len(known)} turns are in the recording; {len(pairs)} were measured, and {len(heard) - len(pairs)} others. "
        f"Mean error {sum(signed) / len(signed):+.1f} ms."
    )


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    return median(values), quantile(values, 0.95), max(values)


def pairs_of(known: Iterable[Turn], heard: Sequence[Turn]) -> Iterator[tuple[Turn, Turn]]:
    """Yield each known turn with the one that was heard at its time."""
    for turn in known:
        near = min(heard, key=lambda one: abs(one.ended - turn.ended), default=None)
        if near is not None and abs(near.ended - turn.ended) < NEAR_S:
            yield turn, near


def difference(running: Running, session_ids: Iterable[str]) -> None:
    """Print what the caller heard beyond the bot's own latency, by its parts."""
    turns: list[dict[str, Any]] = []
    for session_id in session_ids:
        told = logs(running, "--session", session_id, "-o", "brief", "--max-bytes", "1000000")
        turns += [one for one in json.loads(told)["turns"] if "heard_later" in one]
    if not turns:
        print("No turn has both the bot's latency and the caller's.")
        return
    names = list(turns[0]["heard_later"])
    parts = {name: median([one["heard_later"].get(name, 0.0) for one in turns]) for name in names}
    bot = median([one["latency_ms"] for one in turns])
    heard = median([one["heard_ms"] for one in turns])
    said = ", ".join(f"{name} {ms:.0f} ms" for name, ms in parts.items())
    print(
        f"Medians of {len(turns)} turns: by the bot {bot:.0f} ms, as heard {heard:.0f} ms. The difference: {said}."
    )


if __name__ == "__main__":
    main()
