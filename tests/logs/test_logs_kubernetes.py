"""Containers of a real cluster as a source: every run, each line once, and why some are missing."""

import asyncio
import contextlib
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from cluster_support import Cluster, cluster_config, fault, lose_node_of, pod_spec
from cordboard.contract.errors import CordboardError, SettingsError
from cordboard.kube import Kube, KubeTimes, open_kube
from cordboard.logs.query import Query
from cordboard.logs.sources import Source, _kubernetes_log, kubernetes
from cordboard.logs.sources._containers import Run
from cordboard.logs.sources._kubernetes_log import Log, Pace, Place
from cordboard.logs.sources.kubernetes import open_source

READ = {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list", "watch"]}


def until(condition: Callable[[], Any], timeout_s: float = 20) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
    return found


@pytest.fixture
def source(cluster: Cluster) -> Iterator[Callable[..., kubernetes.Cluster]]:
    """Opens sources, and closes them."""
    opened = []

    def make(config: Path | None = None, **options: Any) -> kubernetes.Cluster:
        files = [str(config or cluster_config())]
        options = {"namespaces": [cluster.namespace], **options, "kubeconfig": files}
        opened.append(open_source(options))
        return opened[-1]

    yield make
    for item in opened:
        item.close()


def text(stream: Any, **how: Any) -> list[str]:
    """Return the lines of a stream, without their timestamps."""
    lines = b"".join(stream.read(**how)).decode().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\S+ ", line) for line in lines)
    return [line.partition(" ")[2] for line in lines]


def read(source: Source, query: Query | None = None) -> dict[str, list[str]]:
    return {
        stream.name.partition("/")[2]: text(stream) for stream in source.streams(query or Query())
    }


def lacks(source: Source) -> dict[str, str]:
    return {item.name.partition("/")[2]: item.shortfalls[0].reason for item in source.answers()}


def over(cluster: Cluster, *pods: str) -> Callable[[], bool]:
    return lambda: all(cluster.status(pod).phase in {"Succeeded", "Failed"} for pod in pods)


def is_a_source(source: kubernetes.Cluster) -> Source:
    return source  # checked by mypy


def test_every_container(cluster: Cluster, source: Any) -> None:
    """All containers of a pod answer, init ones too; whole lines, also the last without newline."""
    cluster.pod(
        "p",
        {"name": "a", "script": "echo one; printf 'two\\205x'"},
        {"name": "b", "script": "echo three; exit 1"},
        init=[{"name": "i", "script": "echo zero"}],
    )
    until(over(cluster, "p"))
    opened = source()
    names = [stream.name for stream in opened.streams(Query())]
    assert names == [f"{cluster.namespace}/{end}" for end in ("p/i (init)", "p/a", "p/b")]
    again = source()
    found = {s.name.partition("/")[2]: b"".join(s.read()) for s in again.streams(Query())}
    assert found["p/i (init)"].endswith(b" zero\n")
    assert found["p/a"].split(b"\n")[1].endswith(b"two\x85x")
    assert found["p/b"].endswith(b" three\n")


def test_restarted(cluster: Cluster, source: Any) -> None:
    """Of a restarted container the run before is read too, and earlier ones are named as lost."""
    cluster.pod("p", {"script": "echo run; sleep 1; exit 1"}, restartPolicy="Always")

    def third() -> bool:
        found = cluster.status("p").containerStatuses
        return bool(found and found[0].restartCount == 2 and found[0].state.running)

    until(third)
    found = {}
    for stream in source().streams(Query()):
        found[stream.name.partition("/")[2]] = text(stream)
        if "previous" in stream.name:
            (lost,) = stream.shortfalls()
            assert (lost.reason, lost.detail) == (
                "rotated", "the container restarted; no log is left of the first run",
            )  # fmt: skip
    assert found == {"p/main (previous)": ["run"], "p/main": ["run"]}


def test_never_started(cluster: Cluster, source: Any) -> None:
    """A container that never started has no log, and says why."""
    cluster.pod("p", {"script": "echo", "image": "registry.invalid/none:1"})

    def tried() -> bool:
        found = cluster.status("p").containerStatuses
        return bool(found and found[0].state.waiting and "Image" in found[0].state.waiting.reason)

    until(tried)
    opened = source()
    assert read(opened) == {}
    assert lacks(opened) == {"p/main": "never_started"}
    assert "registry.invalid" in opened.answers()[0].shortfalls[0].detail


def test_session(cluster: Cluster, source: Any) -> None:
    """The pods of other sessions' cold runners are not asked; a Job without its pod is named."""
    for name, session in (("mine", "s:1"), ("other", "s:2")):
        notes = {"cordboard/session-id": session}
        labels = {"app.kubernetes.io/managed-by": "cordboard-operator"}
        cluster.make(
            "Job", name, "batch/v1",
            metadata={"annotations": notes, "labels": labels},
            spec={
                "backoffLimit": 0,
                "template": {
                    "metadata": {"annotations": notes}, "spec": pod_spec({"script": f"echo {name}"}),
                },
            },
        )  # fmt: skip
    until(lambda: all(job.status and job.status.succeeded for job in cluster.jobs()))
    found = read(source(), Query(session="s:1"))
    assert list(found.values()) == [["mine"]]
    mine = next(iter(found)).partition("/")[0]
    cluster.client.delete(type(cluster.pods()[0]), mine, namespace=cluster.namespace)
    until(lambda: len(cluster.pods()) == 1)
    opened = source()
    assert read(opened, Query(session="s:1")) == {}
    assert lacks(opened) == {"mine": "gone"}
    opened = source()
    assert read(opened, Query(session="s:2")).keys() != {}
    assert lacks(opened) == {}


def test_window(cluster: Cluster, source: Any) -> None:
    """A window leaves out runs that ended before it, and asks the API by whole seconds."""
    cluster.pod("early", {"script": "echo early"})
    cluster.pod("late", {"script": "for i in 1 2 3 4 5 6; do echo $i; sleep 0.5; done"})
    until(over(cluster, "early", "late"))
    everything = read(source())
    assert everything == {"early/main": ["early"], "late/main": list("123456")}
    stream = next(s for s in source().streams(Query()) if "late" in s.name)
    fourth = b"".join(stream.read()).split(b"\n")[3][:26].decode() + "Z"
    found = read(source(), Query(since=fourth))
    assert found.keys() == {"late/main"}
    assert found["late/main"][-3:] == ["4", "5", "6"]
    assert "1" not in found["late/main"]
    before = Query(until="2020-01-01T00:00:00.000000Z")
    assert read(source(), before) == {}


def test_forbidden(cluster: Cluster, source: Any) -> None:
    """What this user may not read is named: all other namespaces, a log, or everything."""
    cluster.pod("p", {"script": "echo hello"})
    until(over(cluster, "p"))
    opened = source(cluster.account("reader", READ), namespaces=[])
    assert read(opened) == {"p/main": ["hello"]}
    (rest,) = opened.answers()
    assert (rest.name, rest.shortfalls[0].reason) == ("all other namespaces", "forbidden")
    no_logs = {**READ, "resources": ["pods"]}
    opened = source(cluster.account("lister", no_logs))
    (stream,) = opened.streams(Query())
    assert text(stream) == []
    assert [item.reason for item in stream.shortfalls()] == ["forbidden"]
    with pytest.raises(CordboardError, match=r"not allowed to list pods.*pods/log"):
        list(source(cluster.account("nobody")).streams(Query()))


def test_namespaces(cluster: Cluster, source: Any) -> None:
    """All namespaces are read where that is allowed, and one that is not there is named."""
    cluster.pod("p", {"script": "echo hello"})
    until(over(cluster, "p"))
    names = {stream.name for stream in source(namespaces=[]).streams(Query())}
    assert f"{cluster.namespace}/p/main" in names
    opened = source(namespaces=["none-such", cluster.namespace])
    assert read(opened) == {"p/main": ["hello"]}
    assert [(item.name, item.shortfalls[0].reason) for item in opened.answers()] == [
        ("namespace none-such", "no_source")
    ]


def test_deleted_meanwhile(cluster: Cluster, source: Any) -> None:
    """A pod that is deleted between the look and the reading is gone, and said to be."""
    cluster.pod("p", {"script": "echo hello"})
    until(over(cluster, "p"))
    (stream,) = source().streams(Query())
    cluster.client.delete(type(cluster.pods()[0]), "p", namespace=cluster.namespace)
    until(lambda: not cluster.pods())
    assert text(stream) == []
    assert [item.reason for item in stream.shortfalls()] == ["gone"]


@pytest.mark.parametrize(("first", "reasons"), [(1, []), (17, ["rotated"])])
def test_rotated(cluster: Cluster, source: Any, first: int, reasons: list[str]) -> None:
    """A log that begins with a later number than 1 has lost its beginning to rotation."""
    line = '{\\"message\\":\\"m\\",\\"boot\\":\\"9f31c2aa\\",\\"seq\\":%d}\\n'
    script = f'i={first}; while [ $i -lt {first + 5} ]; do printf "{line}" $i; i=$((i+1)); done'
    cluster.pod("p", {"script": f"{script}; sleep 1; echo later"})
    until(over(cluster, "p"))
    (stream,) = source().streams(Query())
    lines = b"".join(stream.read()).splitlines()
    assert len(lines) == 6
    assert [item.reason for item in stream.shortfalls()] == reasons
    after = lines[-1][:26].decode() + "Z"
    (stream,) = source().streams(Query(since=after))
    assert text(stream) == ["later"]
    assert stream.shortfalls() == ()


def follow(source: kubernetes.Cluster, query: Query, stop: threading.Event) -> dict[str, list[str]]:
    """Follow as the reader does: a thread a stream, and new streams again and again."""
    found: dict[str, list[str]] = {}
    threads, streams = [], []

    def drain(stream: Any, into: list[str]) -> None:
        for chunk in stream.read(follow=True):
            into += [line.partition(" ")[2] for line in chunk.decode().splitlines()]

    def look() -> None:
        while not stop.is_set():
            for stream in source.streams(query):
                into = found.setdefault(stream.name.partition("/")[2], [])
                thread = threading.Thread(target=drain, args=(stream, into))
                thread.start()
                threads.append(thread)
                streams.append(stream)
            time.sleep(0.05)
        for stream in streams:
            stream.close()
        for thread in threads:
            thread.join(5)
            assert not thread.is_alive()

    threading.Thread(target=look).start()
    return found


def test_follow(cluster: Cluster, source: Any) -> None:
    """Following goes on across restarts and takes in new pods; each line comes once."""
    cluster.pod("old", {"script": "echo run; sleep 0.5; exit 1"}, restartPolicy="Always")
    stop = threading.Event()
    found = follow(source(), Query(follow=True), stop)
    try:
        until(lambda: sum(map(len, found.values())) >= 3)
        cluster.pod("new", {"script": "for i in 1 2 3; do echo $i; sleep 0.2; done"})
        until(lambda: found.get("new/main") == ["1", "2", "3"])
        count = cluster.status("old").containerStatuses[0].restartCount
        until(lambda: sum(len(v) for k, v in found.items() if k.startswith("old/")) > count)
        later = cluster.status("old").containerStatuses[0].restartCount
        assert sum(len(v) for k, v in found.items() if k.startswith("old/")) <= later + 1
    finally:
        stop.set()


def test_busy_api(cluster: Cluster, source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An API that hangs in the middle of a log breaks nothing: each line comes once, in order."""
    quick = partial(open_kube, times=KubeTimes(request=1, log_silence=1))
    monkeypatch.setattr(kubernetes, "open_kube", quick)
    monkeypatch.setattr(_kubernetes_log, "PAUSE_MAX_S", 0.5)
    cluster.pod(
        "p", {"script": "i=0; while [ $i -lt 100 ]; do echo $i; i=$((i+1)); sleep 0.1; done"}
    )
    until(lambda: cluster.status("p").phase == "Running")
    stop = threading.Event()
    found = follow(source(), Query(follow=True), stop)
    try:
        until(lambda: len(found.get("p/main", [])) > 3)
        fault("hang-api", "4")
        until(lambda: len(found["p/main"]) >= 100)
        time.sleep(0.3)
        assert found["p/main"] == [str(number) for number in range(100)]
    finally:
        stop.set()


@dataclass
class BusyKube:
    """Stands for the API: counts the logs that are open at a time."""

    open_now: int = 0
    most: int = 0

    @contextlib.asynccontextmanager
    async def log(self, *_where: str, **_params: str | None) -> AsyncIterator[AsyncIterator[bytes]]:
        self.open_now += 1
        self.most = max(self.most, self.open_now)
        try:
            yield self._chunks()
        finally:
            self.open_now -= 1

    async def _chunks(self) -> AsyncIterator[bytes]:
        await asyncio.sleep(0.01)
        yield b'2026-11-30T10:00:09Z {"message":"m","boot":"0123abcd","seq":17}\n'


async def test_requests_at_a_time_are_limited() -> None:
    """Also where the beginning of each of the logs that are read at once has to be looked at."""
    kube, pace = BusyKube(), Pace()
    since = "2026-11-30T10:00:05.000000Z"

    async def read_one(number: int) -> list[str]:
        run = Run("n", f"p{number}", f"u{number}", "main", "", started="2026-11-30T10:00:00Z")
        log = Log(cast("Kube", kube), pace, run, since, None)
        assert [chunk async for chunk in log.chunks(follow=False)]
        return [lack.reason for lack in log.shortfalls]

    lacks = await asyncio.gather(*(read_one(number) for number in range(16)))
    assert lacks == [["rotated"]] * 16
    assert 16 < kube.most <= 20


def test_lost_node(cluster: Cluster, source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that does not answer is named with its words."""
    monkeypatch.setattr(_kubernetes_log, "PAUSE_MAX_S", 0.2)
    cluster.pod("p", {"script": "echo hello; sleep 60"})
    until(lambda: cluster.status("p").phase == "Running")
    lose_node_of(cluster, "p")
    (stream,) = source().streams(Query())
    assert text(stream) == []
    (lack,) = stream.shortfalls()
    assert lack.reason == "unreachable"
    assert "containerLogs" in lack.detail


def test_explain(cluster: Cluster, source: Any) -> None:
    """The commands of kubectl name every container, and can be pasted."""
    cluster.pod("p", {"script": "echo hello"})
    until(over(cluster, "p"))
    first, second = source().explain(Query(since="2020-01-02T03:04:05.678901Z"))
    assert f"get pods -n {cluster.namespace}" in first
    assert second.endswith(
        f"logs -n {cluster.namespace} p -c main --timestamps --since-time=2020-01-02T03:04:05Z"
    )


def test_many(cluster: Cluster, source: Any) -> None:
    """More containers than are opened at once, read by a thread each, all answer."""
    containers = [{"name": f"c{number}", "script": f"echo {number}"} for number in range(40)]
    cluster.pod("p", *containers)
    until(over(cluster, "p"), 60)
    streams = list(source().streams(Query()))
    found: dict[str, list[str]] = {}
    threads = [
        threading.Thread(target=lambda s=stream: found.update({s.name: text(s)}))
        for stream in streams
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(int(lines[0]) for lines in found.values()) == list(range(40))


def test_options() -> None:
    """An unknown option, and a context that is not there, are refused by their names."""
    with pytest.raises(SettingsError, match="unknown option 'namespace'"):
        open_source({"namespace": "x"})
    with pytest.raises(SettingsError, match="no kubeconfig"):
        open_source({})
    with pytest.raises(SettingsError, match="namespaces: expected a list of strings"):
        open_source({"namespaces": 7})
    with pytest.raises(SettingsError, match="context: expected a string, got"):
        open_source({"context": ["x"]})


class TestPlace:
    """Going on where a connection broke: what was given is not given again, and nothing is lost."""

    LINES = b"".join(
        b"2026-11-23T10:00:0%d.00000000%dZ line %d\n" % (n // 4, n % 4, n) for n in range(12)
    )

    def given(self, cut: int) -> tuple[Place, bytes]:
        lines = self.LINES.splitlines(keepends=True)
        place = Place()
        for line in lines[:cut]:
            place.note(line)
        return place, b"".join(lines)

    @pytest.mark.parametrize("cut", range(1, 12))
    @pytest.mark.parametrize("size", [1, 3, 99])
    def test_goes_on(self, cut: int, size: int) -> None:
        """Wherever it broke, the new connection gives exactly the rest."""
        place, everything = self.given(cut)
        assert place.since is not None
        lines = everything.splitlines(keepends=True)
        again = [line for line in lines if line[:19] >= place.since[:19].encode()]
        place.resume(b"".join(again[:size]))
        rest = b"".join(
            place.after(b"".join(again[at : at + size])) for at in range(0, len(again), size)
        )
        assert rest == b"".join(lines[cut:])

    def test_rotated_meanwhile(self) -> None:
        """When the log was rotated meanwhile, all that the new connection brings is new."""
        place, everything = self.given(6)
        new = everything.splitlines(keepends=True)[7:]
        place.resume(b"".join(new))
        assert place.after(b"".join(new)) == b"".join(new)

    def test_zone(self) -> None:
        """A node that writes another zone is asked in its zone."""
        place = Place()
        place.note(b"2026-11-23T12:00:00.1+02:00 x\n")
        assert place.since == "2026-11-23T12:00:00+02:00"


async def test_whole_lines() -> None:
    """However the bytes are cut, whole lines come out, and the last one without its newline too."""
    text = b"one\ntwo\nthree"
    for size in range(1, len(text) + 1):

        async def chunks(size: int = size) -> AsyncIterator[bytes]:
            for at in range(0, len(text), size):
                yield text[at : at + size]

        found = [lines async for lines in _kubernetes_log._whole_lines(chunks())]
        assert b"".join(found) == text + b"\n"
        assert all(lines.endswith(b"\n") for lines in found)


def test_names_are_unique() -> None:
    """Two runs of one container are two."""
    one = Run("n", "p", "u", "c", "", number=1)
    assert one.key != Run("n", "p", "u", "c", "", number=2).key
