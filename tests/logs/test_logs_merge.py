"""Many streams become one in order, each line once; numbers prove what is missing."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cordboard.logs import merge, survey
from cordboard.logs import reader as reading
from cordboard.logs.blocks import Block
from cordboard.logs.copies import Item
from cordboard.logs.entries import Listed
from cordboard.logs.merge import Lane, Whole, merged
from cordboard.logs.query import Query
from cordboard.logs.reader import Reader, side_by_side
from cordboard.logs.scan import Batch
from cordboard.logs.sequence import Gap, SequenceIndex
from cordboard.logs.sources.directory import Directory
from cordboard.logs.statistics import Statistics
from cordboard.logs.survey import Ordered, joined, runs_of
from cordboard.logs.timestamps import OWN_KEY
from logs.logs_support import (
    answered,
    ask,
    at,
    encoded,
    only_compiled,
    record,
    runs_missing,
    write_lines,
)

seconds = st.integers(0, 60)


def batches(moments: list[int], size: int, name: str) -> list[Batch]:
    """Entries of a stream, in batches; each is told apart by its name and place."""
    found = []
    newest = ""
    for begin in range(0, len(moments), size):
        part = moments[begin : begin + size]
        keys = [at(moment).encode() for moment in part]
        newest = max([newest, *map(at, part)])
        raws = [f"{name} {begin + place}".encode() for place in range(len(part))]
        found.append(Batch(Listed(keys, raws), newest.encode()))
    return found


def together(lanes: list[Lane], statistics: Statistics | None = None) -> list[Item]:
    found = []
    for items in merged(lanes, statistics or Statistics()):
        assert isinstance(items, list)
        found += items
    return found


@given(st.lists(st.lists(seconds, max_size=30).map(sorted), max_size=5), st.integers(1, 7))
def test_equals_a_sort_of_everything(streams: list[list[int]], size: int) -> None:
    """Streams in order come out in the order (time, stream, place)."""
    lanes = [Lane(n, batches(moments, size, str(n))) for n, moments in enumerate(streams)]
    expected = sorted(
        (at(moment).encode(), number, place)
        for number, moments in enumerate(streams)
        for place, moment in enumerate(moments)
    )
    found = [(key, n, int(raw.split()[1])) for key, raw, n, _ in together(lanes)]
    assert found == expected


@given(st.lists(st.lists(seconds, max_size=30), max_size=4), st.integers(1, 7))
def test_disorder_without_bound(streams: list[list[int]], size: int) -> None:
    """Where nothing is given out before all is read, any disorder is put right."""
    statistics = Statistics()
    lanes = [Lane(n, batches(m, size, str(n)), None) for n, m in enumerate(streams)]
    keys = [key for key, _, _, _ in together(lanes, statistics)]
    assert keys == sorted(keys)
    assert statistics.counts["late"] == 0


@given(st.lists(st.lists(seconds, max_size=30), max_size=4), st.integers(1, 7))
def test_late_lines_are_counted_and_never_lost(streams: list[list[int]], size: int) -> None:
    """Beyond the slack a line may come late; then it is counted, and it is still there."""
    statistics = Statistics()
    lanes = [Lane(n, batches(m, size, str(n))) for n, m in enumerate(streams)]
    keys = [key for key, _, _, _ in together(lanes, statistics)]
    assert sorted(keys) == sorted(at(moment).encode() for moments in streams for moment in moments)
    if keys != sorted(keys):
        assert statistics.counts["late"] > 0


def test_memory_is_bounded_by_batches() -> None:
    """A stream is read on only when what it holds has been given out."""
    read = [0, 0]

    def counted(number: int) -> "list[Batch]":
        def batch(place: int) -> Batch:
            read[number] += 1
            key = at(place * 10).encode()
            return Batch(Listed([key], [b"x"]), key)

        return map(batch, range(50))  # type: ignore[return-value]  # lazy is the point

    for given_out, items in enumerate(
        merged([Lane(0, counted(0)), Lane(1, counted(1))], Statistics()), 1
    ):
        assert items
        assert max(read) <= given_out + 3


def test_a_stream_is_not_read_before_its_time() -> None:
    """A stream that is known to begin later is left alone until the others have come so far."""
    read: list[int] = []

    def stream(number: int, moments: list[int]) -> Iterator[Batch]:
        for moment in moments:
            read.append(number)
            yield Batch(Listed([at(moment).encode()], [b"x"]), at(moment).encode())

    lanes = [
        Lane(n, stream(n, [n * 100, n * 100 + 50]), begins=at(n * 100).encode()) for n in range(5)
    ]
    keys = [key for key, _, _, _ in together(lanes)]
    assert keys == sorted(keys)
    assert len(keys) == 10
    assert read == sorted(read)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=8))
def test_side_by_side(spans: list[tuple[int, int]]) -> None:
    """The most spans over one moment are counted; one that ends where it begins counts, too."""
    wide = [(min(span), max(span)) for span in spans]
    found = side_by_side([(b"%d" % a, b"%d" % b) for a, b in wide])
    assert found <= max((sum(a <= n <= b for a, b in wide) for n in range(10)), default=0)
    assert found >= max((sum(a <= n < b for a, b in wide) for n in range(10)), default=0)


def lane(number: int, *raws: bytes, key: str = at(1)) -> Lane:
    return Lane(number, [Batch(Listed([key.encode()] * len(raws), list(raws)))])


def raws_of(*lanes: Lane) -> list[bytes]:
    return [raw for _, raw, _, _ in together(list(lanes))]


def test_a_record_is_known_by_boot_and_seq() -> None:
    """Copies of our records are given once, however often they stand where."""
    one, two = encoded(record(1, seq=1)), encoded(record(1, seq=2))
    assert raws_of(lane(0, one, two, one), lane(1, two, one)) == [one, two]


def test_other_lines_are_copies_only_across_streams() -> None:
    """A process may say the same thing twice; another stream's copy of both is none of its own."""
    assert (
        raws_of(lane(0, b"retry", b"retry"), lane(1, b"retry", b"retry", b"retry"))
        == [b"retry"] * 3
    )
    assert raws_of(lane(0, b"a"), lane(1, b"b")) == [b"a", b"b"]


def test_lines_of_two_origins_are_no_copies(tmp_path: Path) -> None:
    """Two programs may say the same at the same time; a rotated file and another source have copies."""
    line = b"2026-11-23T10:00:01Z WARN pool exhausted"
    write_lines(tmp_path / "a" / "voice.log", [line])
    write_lines(tmp_path / "a" / "web.log", [line, line])
    write_lines(tmp_path / "a" / "web.log.1.gz", [line])
    write_lines(tmp_path / "b" / "voice.log", [line])
    answer = ask(tmp_path)
    assert answer.raws == [line] * 4
    assert answer.coverage.counts == {"duplicate": 1}
    both = answered(Reader(Query(), [Directory(tmp_path / "a"), Directory(tmp_path / "b")]))
    assert both.raws == [line] * 3


def test_lines_of_two_pods_are_no_copies(tmp_path: Path) -> None:
    """Containers have files of one name; a restart's file has the copies."""
    line = b"2026-11-23T10:00:01.000000001Z stderr F free(): invalid pointer"
    for pod in ("voice_web-1_u1", "voice_web-2_u2"):
        write_lines(tmp_path / pod / "web" / "0.log", [line])
    write_lines(tmp_path / "voice_web-2_u2" / "web" / "1.log", [line])
    assert len(ask(tmp_path).raws) == 2


def test_numbered_lines_are_copies_whatever_their_origin(tmp_path: Path) -> None:
    """Boot and seq say whose line it is."""
    line = encoded(record(1, seq=1))
    write_lines(tmp_path / "a" / "voice.log", [line])
    write_lines(tmp_path / "b" / "web.log", [line])
    assert ask(tmp_path).raws == [line]


def cut_copy(seconds: float, **more: Any) -> bytes:
    """A line of ours in an agent's object, its time cut to milliseconds."""
    value = record(seconds, **more)
    value["timestamp"] = f"{value['timestamp'][:23]}Z"
    return json.dumps({"insertId": "x", "jsonPayload": value}).encode()


@pytest.mark.parametrize("filler", [0, 5_000])
@pytest.mark.parametrize("size", [1 << 20, 1_000])
def test_a_copy_whose_time_was_cut(tmp_path: Path, filler: int, size: int) -> None:
    """A line is known by boot and seq, also where an agent has cut its time to milliseconds."""
    more = [encoded(record(0.001 * n + 0.0005, seq=n + 10, boot="bbbbbbbb")) for n in range(filler)]
    ours = [encoded(record(1.0012 + n * 0.0011, seq=n + 1)) for n in range(8)]
    write_lines(tmp_path / "a.log", [*more, *ours])
    write_lines(tmp_path / "b.log", [cut_copy(1.0012 + n * 0.0011, seq=n + 1) for n in range(8)])
    answer = ask(tmp_path, block_bytes=size)
    assert [raw for raw in answer.raws if b"aaaaaaaa" in raw] == ours
    assert answer.coverage.counts["duplicate"] == 8
    assert not [note for note in answer.coverage.notes if "differ" in note]
    encoded_ones = list(reader_of(tmp_path).encoded("json"))
    assert sum(raw.count(b"aaaaaaaa") for raw in encoded_ones) == 8


def reader_of(folder: Path) -> Reader:
    return Reader(Query(), [Directory(folder)])


def test_a_time_of_an_agent_has_the_form_of_the_contract(tmp_path: Path) -> None:
    """Every record's time has 27 characters."""
    write_lines(tmp_path / "b.log", [cut_copy(1.0012)])
    (line,) = ask(tmp_path).lines
    assert line.record["timestamp"] == at(1.001)
    assert line.raw == encoded(record(1.001))


def test_a_copy_with_other_content_is_told(tmp_path: Path) -> None:
    """The coverage names copies that say something else than the line that is shown."""
    for n in range(20):
        line = record(n, seq=n + 1)
        write_lines(tmp_path / f"a{n}.log", [encoded(line)])
        other = {**line, "message": "Card [redacted]"} if n % 2 else dict(sorted(line.items()))
        write_lines(tmp_path / f"b{n}.log", [json.dumps({"jsonPayload": other}).encode()])
    notes = [note for note in ask(tmp_path).coverage.notes if "differ" in note]
    assert len(notes) == 1
    assert notes[0].startswith(
        "10 copies differ from the line that is shown: seq 2 of boot aaaaaaaa in "
    )
    assert notes[0].endswith(", and others.")


def test_a_copy_that_was_cut() -> None:
    """The first half of a line that is whole elsewhere is a copy, too."""
    whole = encoded(record(1, seq=1))
    assert raws_of(lane(0, whole[:60]), lane(1, whole)) == [whole]
    assert raws_of(lane(0, whole[:60])) == [whole[:60]]


@pytest.fixture(params=["python", pytest.param("compiled", marks=only_compiled)])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "python":
        monkeypatch.setattr(survey, "native", None)


def surveyed(lines: Sequence[bytes]) -> Ordered:
    """Return a block of lines in the order of time."""
    data = b"".join(line + b"\n" for line in lines)
    found = survey.survey(data, len(data))
    assert found is not None
    return survey.ordered(found.lines, [])


moments = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9)), max_size=60)


@pytest.mark.usefixtures("_way")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moments.filter(bool))
def test_lines_of_ours_in_order(said: list[tuple[int, int]]) -> None:
    """They stand in the order of time, as they stood where some are of one moment; copies are seen."""
    lines = [encoded(record(second / 10, seq=seq, message=str(n)))
             for n, (second, seq) in enumerate(said)]  # fmt: skip
    found = surveyed(lines)
    order = sorted(range(len(said)), key=lambda n: said[n][0])
    assert found.lines.raws == [lines[n] for n in order]
    assert found.lines.keys == [at(said[n][0] / 10).encode() for n in order]
    assert found.distinct == (len(set(said)) == len(said))


@pytest.mark.usefixtures("_way")
def test_lines_that_are_told_of_are_handed_on_whole() -> None:
    """They need not be looked at singly, in one stream or in several, unless one is a copy."""
    lines = [encoded(record(n, seq=n)) for n in range(1, 9)]

    def told(number: int, *numbers: int) -> Lane:
        found = surveyed([lines[n] for n in numbers])
        batch = Batch(found.lines, found.lines.last, ordered=True, distinct=found.distinct)
        return Lane(number, [batch], None)

    for lanes in ([told(0, 2, 1, 0)], [told(0, 0, 2), told(1, 1)], [told(n, n) for n in range(3)]):
        (whole,) = merged(lanes, Statistics(), whole=True)
        assert whole == Whole(b"\n".join([*lines[:3], b""]), [])
    statistics = Statistics()
    (singly,) = merged([told(0, 0, 1), told(1, 1, 2)], statistics, whole=True)
    assert isinstance(singly, list)
    assert [item[1] for item in singly] == lines[:3]
    assert statistics.counts["duplicate"] == 1


@pytest.mark.usefixtures("_way")
@given(st.lists(moments, max_size=4), st.integers(1, 7))
def test_lines_that_are_told_of_are_merged_as_others_are(
    streams: list[list[tuple[int, int]]],
    size: int,
) -> None:
    """Whether a summary has told of lines or not: they come in the same order, each once."""
    found = []
    tallies = (Statistics(), Statistics())
    for told in (True, False):
        lanes = []
        for number, said in enumerate(streams):
            lines = [encoded(record(a / 10, seq=b, boot=f"{a}aaaaaaa"[:8])) for a, b in said]
            parts = [lines[n : n + size] for n in range(0, len(lines), size)]
            newest = [
                max(line[OWN_KEY] for part in parts[: n + 1] for line in part)
                for n in range(len(parts))
            ]
            made = [
                Batch(part.lines, read_to, ordered=True, distinct=part.distinct)
                for part, read_to in zip(map(surveyed, parts), newest, strict=True)
            ]
            lanes.append(Lane(number, made))
        raws = [
            raw
            for items in merged(lanes, tallies[told], whole=told)
            for raw in (
                items.data.splitlines() if isinstance(items, Whole) else [item[1] for item in items]
            )
        ]
        found.append(raws)
    assert found[0] == found[1]
    assert tallies[0].counts == tallies[1].counts


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("stray", [1, 40, 300])
@pytest.mark.parametrize("block_bytes", [300, 5000, None])
def test_exact_puts_any_disorder_right(
    tmp_path: Path, own: bool, stray: int, block_bytes: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However far apart what is read at once lies, and whatever the lines' form."""
    monkeypatch.setattr(reading, "_SORTED_WHOLE_BYTES", 0)

    def line(number: float, name: str) -> bytes:
        if own:
            boot, service = ("a" * 8, "gateway") if name == "a" else ("b" * 8, "bot")
            return encoded(record(number, seq=int(number) + 1, boot=boot, service=service))
        return f"{at(number).replace('T', ' ')} INFO {name} said something".encode()

    order = [*range(100), *range(100 + stray, 700), *range(100, 100 + stray)]
    write_lines(tmp_path / "a.log", [line(n, "a") for n in order])
    write_lines(tmp_path / "b.log", [line(n + 0.5, "b") for n in range(700)])
    answer = ask(tmp_path, block_bytes, exact=True)
    keys = [line.record["timestamp"] for line in answer.lines]
    assert len(keys) == 1400
    assert keys == sorted(keys)
    assert not answer.coverage.counts


def test_a_moment_that_is_none_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that lies outside of all time is left out of the measure of disorder."""
    monkeypatch.setattr(reading, "_SORTED_WHOLE_BYTES", 0)
    odd = encoded(record(1)).replace(at(1).encode(), b"9999-99-99Ta9:99:99.999999Z")
    write_lines(tmp_path / "a.jsonl", [encoded(record(1))])
    write_lines(tmp_path / "b.jsonl", [odd])
    assert ask(tmp_path, exact=True).raws == [encoded(record(1))]


# --- numbers


@given(st.lists(st.integers(1, 60), max_size=60))
def test_runs(numbers: list[int]) -> None:
    """Runs hold the same numbers, in order, none touching the next."""
    found = runs_of(numbers)
    assert [n for first, last in found for n in range(first, last + 1)] == sorted(set(numbers))
    assert joined(found) == found


def block(*lines: bytes) -> Block:
    data = b"".join(lines)
    return Block(data, len(data), 0)


@pytest.mark.usefixtures("_way")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(["aaaaaaaa", "bbbbbbbb", "00000001"]),
        st.sets(st.integers(1, 500), min_size=1),
        min_size=1,
    ),
    st.integers(0, 2**32),
    st.integers(50, 400),
)
def test_gaps(seen: dict[str, set[int]], seed: int, size: int) -> None:
    """Whatever the order and the blocks, the holes of each process are those that were left."""
    import random

    shuffler = random.Random(seed)
    pairs = sorted(
        ((number, boot) for boot, numbers in seen.items() for number in numbers),
        key=lambda pair: pair[0] + shuffler.uniform(0, 8),
    )
    lines = [encoded(record(number, boot=boot, seq=number)) + b"\n" for number, boot in pairs]
    sequence_index = SequenceIndex()
    for begin in range(0, len(lines), size):
        sequence_index.note(block(*lines[begin : begin + size]))
    some = SequenceIndex()
    some.note_boots(block(*lines), [b"aaaaaaaa"])
    expected = {
        boot: [Gap(boot, first, last) for first, last in runs_missing(sorted(numbers))]
        for boot, numbers in seen.items()
    }
    assert sequence_index.gaps() == [gap for boot in sorted(expected) for gap in expected[boot]]
    assert some.gaps() == expected.get("aaaaaaaa", [])


def test_a_message_is_no_number() -> None:
    """What a message says of boots and numbers counts for nothing."""
    sequence_index = SequenceIndex()
    lie = encoded(
        record(1, seq=1, message='"boot":"bbbbbbbb","seq":7}', meta={"boot": "cccccccc", "seq": 9})
    )
    sequence_index.note(block(lie + b"\n" + lie.replace(b'"seq":1}', b'"seq":3}') + b"\n"))
    assert sequence_index.gaps() == [Gap("aaaaaaaa", 2, 2)]


def test_of_many_lanes_few_are_open_at_once() -> None:
    """Thousands of streams, one behind the other in time, are read so; the order is as ever."""
    reading: set[int] = set()
    most = [0]

    def opened(number: int) -> Iterator[Batch]:
        reading.add(number)
        most[0] = max(most[0], len(reading))
        keys = [at(number + part / 4).encode() for part in range(8)]
        yield Batch(Listed(keys, [f"{number} {part}".encode() for part in range(8)]))
        reading.discard(number)

    lanes = [Lane(n, opened(n), None, begins=at(n - 10).encode()) for n in reversed(range(500))]
    found = together(lanes)
    keys = [item[0] for item in found]
    assert len(found) == 4000
    assert keys == sorted(keys)
    assert most[0] <= merge._SIDE_BY_SIDE + 1
    same = [item[2] for item in found if item[0] == at(250).encode()]
    assert same == sorted(same)
    assert len(same) == 2
