"""What `cordboard logs` answers equals what a slow, independent reader finds, whatever the files."""

import itertools
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cordboard.logs import search, stream, survey
from cordboard.logs.filters import Prefilter
from cordboard.logs.query import Query
from cordboard.logs.reader import Reader
from cordboard.logs.scan import Scan
from cordboard.logs.sources.directory import Directory
from cordboard.logs.timespec import HIGHEST, LOWEST
from logs.logs_support import (
    Oracle,
    ask,
    at,
    bare,
    cri,
    cri_in_pieces,
    docker,
    encoded,
    kubectl,
    only_compiled,
    record,
    runs_missing,
    write_lines,
)

SESSIONS = ("call-7", "call-70", "a", "server:vm")
SERVICES = ("gateway", "operator", "runner", "bot", "browser")
CARRIERS = (bare, bare, bare, cri, cri_in_pieces, kubectl, docker)
MESSAGES = (
    "Join accepted",
    "call-7 was mentioned",
    'quoted "call-7" and {"sessionId":"call-7"}',
    "Grüße, 世界 \u2028",
    "tab\tand\nnewline",
    '"boot":"bbbbbbbb","seq":5}',
    "",
)


class Corpus:
    """Files of several processes, with trouble planted by a seeded choice."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        self.lost: dict[str, list[tuple[int, int]]] = {}
        self.span = self.random.choice([5, 60, 7200])
        for number in range(self.random.randint(1, 4)):
            self._process(number)

    def _process(self, number: int) -> None:
        choose = self.random
        boot = f"{choose.getrandbits(32):08x}"
        service = choose.choice(SERVICES)
        lines = self._records(boot, service)
        kept = [line for line in lines if choose.random() > choose.choice([0, 0, 0.05])]
        self.lost[boot] = runs_missing([line["seq"] for line in kept])
        self._disorder(kept)
        carrier = choose.choice(CARRIERS)
        end = choose.choice([b"\n", b"\n", b"\r\n"])
        physical = [
            piece for line in kept for piece in carrier(encoded(line), _seconds(line["timestamp"]))
        ]
        cut = sorted(choose.randint(0, len(physical)) for _ in range(choose.randint(0, 2)))
        if carrier is cri_in_pieces:
            cut = []  # a kubelet rotates between lines, too
        edges = [0, *cut, len(physical)]
        parts = [physical[a:b] for a, b in itertools.pairwise(edges)]
        for age, part in enumerate(reversed(parts)):
            name = f"{service}-{number}{f'.{age}' if age else ''}.jsonl"
            packed = choose.choice(["", "", ".gz", ".zst"]) if age else ""
            write_lines(self.folder / f"{name}{packed}", part, end=end)
            if choose.random() < 0.2:
                again = choose.choice(["", ".gz"])
                write_lines(self.folder / "copies" / f"{name}{again}", part)

    def _records(self, boot: str, service: str) -> list[dict[str, Any]]:
        choose = self.random
        count = choose.choice([0, 1, 3, 40, 200])
        moments = sorted(round(choose.uniform(0, self.span), 6) for _ in range(count))
        return [
            record(
                moment,
                boot=boot,
                seq=seq,
                service=service,
                session=choose.choice(SESSIONS),
                level=choose.choice(["debug", "info", "info", "warn", "error"]),
                message=choose.choice(MESSAGES),
            )
            for seq, moment in enumerate(moments, 1)
        ]

    def _disorder(self, lines: list[dict[str, Any]]) -> None:
        """Let some lines stand up to half a second too late."""
        if self.random.random() < 0.5:
            lines.sort(key=lambda line: _seconds(line["timestamp"]) + self.random.uniform(0, 0.45))


def _seconds(timestamp: str) -> float:
    hours, minutes, seconds = timestamp[11:-1].split(":")
    return (int(hours) - 10) * 3600 + int(minutes) * 60 + float(seconds)


@pytest.fixture(autouse=True)
def small_grains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let bisection begin with files of a few lines."""
    monkeypatch.setattr(stream, "_GRAIN_BYTES", 2048)
    monkeypatch.setattr(stream, "_PROBE_BYTES", 512)
    monkeypatch.setattr(stream, "_SAMPLE_BYTES", 1024)


EXAMPLES = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@EXAMPLES
@given(
    seed=st.integers(0, 10**9),
    block_bytes=st.sampled_from([300, 2000, 1 << 20]),
    wanted=st.fixed_dictionaries(
        {},
        optional={
            "session": st.sampled_from(["call-7", "a", "nobody"]),
            "level": st.sampled_from(["info", "warn", "error"]),
            "services": st.sampled_from([("gateway",), ("bot", "browser")]),
        },
    ),
    window=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    windowed=st.booleans(),
)
def test_equals_the_oracle(
    seed: int,
    block_bytes: int,
    wanted: dict[str, Any],
    window: tuple[float, float],
    windowed: bool,
) -> None:
    """The same lines in the same order, each once, for every query over every corpus."""
    folder = Path(tempfile.mkdtemp())
    try:
        corpus = Corpus(seed, folder)
        if windowed:
            first, last = sorted(window)
            wanted = wanted | {
                "since": at(first * corpus.span),
                "until": at(last * corpus.span + 0.000001),
            }
        answer = ask(folder, block_bytes, **wanted)
        expected = Oracle().read(folder).raws(**wanted)
        if "session" in wanted:
            ours = [line.raw for line in answer.lines if line.attribution == "explicit"]
            assert ours == expected
        else:
            assert answer.raws == expected
    finally:
        shutil.rmtree(folder)


@EXAMPLES
@given(seed=st.integers(0, 10**9), block_bytes=st.sampled_from([300, 2000, 1 << 20]))
def test_every_planted_loss_is_named(seed: int, block_bytes: int) -> None:
    """Each hole in a process's numbers is named with its bounds, and nothing else is."""
    folder = Path(tempfile.mkdtemp())
    try:
        corpus = Corpus(seed, folder)
        answer = ask(folder, block_bytes)
        named = [detail.split(",")[0] for _, reason, detail in answer.shortfalls if reason == "gap"]
        planted = [
            f"boot {boot}: seq {first}" + (f" to {last}" if last > first else "")
            for boot, holes in corpus.lost.items()
            for first, last in holes
        ]
        assert sorted(named) == sorted(planted)
        assert answer.coverage.complete == (not planted)
    finally:
        shutil.rmtree(folder)


@EXAMPLES
@given(seed=st.integers(0, 10**9), window=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_window_lacks_what_was_lost_and_nothing_else(
    seed: int, window: tuple[float, float]
) -> None:
    """A window's answer names losses that are there: lost beginnings, holes, or no log at all."""
    folder = Path(tempfile.mkdtemp())
    try:
        corpus = Corpus(seed, folder)
        first, last = sorted(window)
        since, until = at(first * corpus.span), at(last * corpus.span + 0.000001)
        answer = ask(folder, since=since, until=until)
        found = Oracle().read(folder).found
        planted = {boot for boot, holes in corpus.lost.items() if holes}
        late = {value["boot"] for _, _, _, _, value in found if value["seq"] > 1} - {
            value["boot"] for _, _, _, _, value in found if value["seq"] == 1
        }
        others = [told for told, _, _, _, value in found if value["service"] != "browser"]
        behind = bool(others) and min(others) >= until
        for who, why, detail in answer.shortfalls:
            if why == "gap":
                assert detail[5:13] in planted
            elif who.startswith("browser"):
                pass  # its clock is no proof
            elif why == "rotated":
                assert detail[-8:] in late
            elif why == "starts_after_window":
                assert behind
            else:
                assert (why, found) == ("no_source", []), who
        if behind and len(others) == len(found):
            assert not answer.coverage.complete
    finally:
        shutil.rmtree(folder)


@EXAMPLES
@given(seed=st.integers(0, 10**9), part_bytes=st.sampled_from([300, 2000, 10_000]))
def test_parts_of_a_stream(seed: int, part_bytes: int) -> None:
    """Parts lie side by side, and their entries, read apart, are those of the whole."""
    folder = Path(tempfile.mkdtemp())
    try:
        Corpus(seed, folder)
        reader = Reader(Query(), [Directory(folder)], block_bytes=700)
        list(reader.items())
        for each in reader.tracks:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(stream, "_PART_BYTES", part_bytes)
                parts = each.parts(0, None)
            assert [begin for begin, _ in parts] == [0, *(end for _, end in parts[:-1])]
            assert parts[-1][1] is None
            apart = []
            for part in parts:
                scan = Scan(each, Prefilter(), LOWEST, HIGHEST, size=700, part=part)
                apart += [entry.raw for entry in scan.entries()]
            whole = Scan(each, Prefilter(), LOWEST, HIGHEST, size=700).entries()
            assert apart == [entry.raw for entry in whole]
        reader.close()
    finally:
        shutil.rmtree(folder)


@EXAMPLES
@given(seed=st.integers(0, 10**9), block_bytes=st.sampled_from([300, 2000, 1 << 20]))
def test_handed_on_as_they_are(seed: int, block_bytes: int) -> None:
    """Lines that need no decoding are the same, and counted the same, as those that are decoded."""
    folder = Path(tempfile.mkdtemp())
    try:
        Corpus(seed, folder)
        decoded = ask(folder, block_bytes)
        reader = Reader(Query(), [Directory(folder)], block_bytes=block_bytes)
        assert b"".join(reader.encoded("raw")).splitlines() == decoded.raws
        coverage = reader.coverage()
        reader.close()
        assert coverage.attribution == decoded.coverage.attribution
        assert coverage.counts == decoded.coverage.counts
        assert [(a.name, a.lines, a.shortfalls) for a in coverage.answers] == [
            (a.name, a.lines, a.shortfalls) for a in decoded.coverage.answers
        ]
    finally:
        shutil.rmtree(folder)


@EXAMPLES
@given(
    seed=st.integers(0, 10**9),
    wanted=st.sampled_from(
        [
            {"session": "call-7"},
            {"session": "call-7", "level": "warn"},
            {"session": "a", "mentions": True},
        ]
    ),
    part_bytes=st.sampled_from([500, 4000, 1 << 20]),
)
def test_two_threads_find_what_one_finds(
    seed: int, wanted: dict[str, Any], part_bytes: int
) -> None:
    """Where much is searched for a session, two share the work.

    The answer is the same, also where it is too much to be kept.
    """
    folder = Path(tempfile.mkdtemp())
    try:
        Corpus(seed, folder)
        one = ask(folder, 2000, **wanted)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(search, "HANDS", 2)
            patch.setattr(search, "_ALONE_UP_TO_BYTES", -1)
            patch.setattr(stream, "_PART_BYTES", part_bytes)
            two = ask(folder, 2000, **wanted)
            patch.setattr(search, "_KEPT_MAX_BYTES", 300)
            too_much = ask(folder, 2000, **wanted)
        assert two.raws == one.raws
        assert too_much.raws == one.raws
        answers = [(a.name, a.lines, a.shortfalls) for a in one.coverage.answers]
        assert [(a.name, a.lines, a.shortfalls) for a in two.coverage.answers] == answers
        assert [(a.name, a.lines, a.shortfalls) for a in too_much.coverage.answers] == answers
        assert two.coverage.attribution == one.coverage.attribution
    finally:
        shutil.rmtree(folder)


WANTED: list[dict[str, Any]] = [
    {},
    {"exact": True},
    {"level": "warn"},
    {"user": "u-1"},
    {"session": "call-7"},
    {"session": "call-7", "exact": True},
    {"session": "call-7", "mentions": True},
    {"session": "a", "mentions": True},
    {"session": "u-1"},
]


@only_compiled
@EXAMPLES
@given(
    seed=st.integers(0, 10**9),
    block_bytes=st.sampled_from([300, 2000, 1 << 20]),
    wanted=st.sampled_from(WANTED),
    window=st.none() | st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_every_corpus_is_answered_alike(
    seed: int,
    block_bytes: int,
    wanted: dict[str, Any],
    window: tuple[float, float] | None,
) -> None:
    """Lines and coverage of whatever is planted in it are those of Python alone."""
    folder = Path(tempfile.mkdtemp())
    try:
        corpus = Corpus(seed, folder)
        if window:
            first, last = (at(part * corpus.span) for part in sorted(window))
            wanted = wanted | {"since": first, "until": last}
        found = ask(folder, block_bytes, **wanted)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(survey, "native", None)
            plain = ask(folder, block_bytes, **wanted)
        assert found.raws == plain.raws
        assert [(x.raw, x.attribution, x.source) for x in found.lines] == [
            (x.raw, x.attribution, x.source) for x in plain.lines
        ]
        assert found.coverage == plain.coverage
    finally:
        shutil.rmtree(folder)
