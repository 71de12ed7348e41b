"""The containers of a Kubernetes cluster: current runs, previous ones, init and ephemeral ones.

Needs ``cordboard[kubernetes]``, whose client takes longer to import than most queries take: import
this file only for an environment that has a cluster.
"""

import asyncio
import contextlib
import shlex
import threading
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any, Final, TypeVar

from cordboard.contract.errors import (
    ClusterForbiddenError,
    ClusterUnavailableError,
    CordboardError,
    NotFoundError,
    SettingsError,
)
from cordboard.kube import Kube, Object, ObjectChange, ObjectList, WatchFailure, follow, open_kube
from cordboard.logs.coverage import Answer, Shortfall
from cordboard.logs.query import Query
from cordboard.logs.sources import Source, Stream
from cordboard.logs.sources._containers import has_run, outside, runs, session_of
from cordboard.logs.sources._kubernetes_log import Log, Pace
from cordboard.logs.sources._options import checked

_JOBS: Final = "app.kubernetes.io/managed-by=cordboard-operator"

BATCH_BYTES: Final = 512 * 1024
"""What one exchange between the threads brings. The API sends some 8 KB at a time, and each exchange waits for
both threads to have a turn: with sixteen readers that took nine tenths of the time."""

PAUSES_S: Final = (0.5, 1.0, 2.0)
"""Between the tries of a look at the pods."""

T = TypeVar("T")


def open_source(options: Mapping[str, Any]) -> "Cluster":
    """Open the cluster of one entry of ``[environments]``; nothing is asked of it yet.

    Args:
        options: ``context`` (default: the current one), ``namespaces`` (default: all that may be
            read), ``labels`` (a selector), ``kubeconfig`` (a file, or a list of them).

    Raises:
        SettingsError: An option is unknown, or there is no such context.
    """
    values = checked(
        "kubernetes", options, context=str, namespaces=object, labels=str, kubeconfig=object
    )
    files = [Path(file) for file in _texts(options, "kubeconfig")]
    namespaces = _texts(options, "namespaces")
    worker = Worker()
    try:
        kube = worker.call(_open(files, values["context"] or None))
    except BaseException:
        worker.close()
        raise
    return Cluster(kube, worker, namespaces, values["labels"])


def _texts(options: Mapping[str, Any], name: str) -> list[str]:
    value = options.get(name, [])
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise SettingsError(f"kubernetes: {name}: expected a list of strings, got {value!r}.")
    return texts


async def _open(files: Sequence[Path], context: str | None) -> Kube:
    return open_kube(files, context=context)


class Worker:
    """An event loop in a thread of its own, for callers who know none."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kube", daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin `work` in the thread; return its future."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` in the thread, and return what it returns."""
        future = self.submit(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # an interrupt of the caller ends the work as well
            raise

    def close(self) -> None:
        """End all work, and the thread."""
        if self._loop.is_closed():
            return
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result(timeout=2)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_all() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


class Cluster(Source):
    """All containers of a cluster that a query may concern."""

    def __init__(
        self, kube: Kube, worker: Worker, namespaces: Sequence[str], labels: str = ""
    ) -> None:
        self.name = f"kubernetes context {kube.name}"
        self._kube = kube
        self._worker = worker
        self._namespaces = tuple(namespaces)
        self._labels = labels
        self._pace = Pace()
        self._pods: dict[str, Object] = {}
        self._gone: set[str] = set()
        self._seen: set[tuple[str, str, int]] = set()
        self._listed = False
        self._answers: dict[str, Answer] = {}
        self._followers: list[Future[None]] = []

    def streams(self, query: Query) -> Iterable["_ContainerStream"]:
        """List the runs of containers with a log that `query` may concern; following, only what is new.

        Raises:
            CordboardError: The cluster does not answer, or shows no pod to this user.
        """
        for pod in self._wanted(query):
            yield from self._streams_of(pod, query)
        # A pod that is gone has been read, or is being read.
        while self._gone:
            self._pods.pop(self._gone.pop(), None)

    def answers(self) -> Sequence[Answer]:
        """Say what has no stream, and why."""
        return tuple(self._answers.values())

    def facts(self) -> Sequence[str]:
        """Return the context, for ``cordboard doctor --env``."""
        return (f"as the user of context {self._kube.name}",)

    def explain(self, query: Query) -> Sequence[str]:
        """Return the commands of kubectl that would show what answers `query`."""
        since = f"--since-time={query.since[:19]}Z" if query.since else ""
        base = ["kubectl", "--context", self._kube.name]
        commands = [shlex.join([*base, "get", "pods", *self._where(), "-o", "wide"])]
        for run in (run for pod in self._wanted(query) for run in runs(pod)):
            if outside(run, query.since, query.until) or not (run.started or run.previous):
                continue
            words = ["logs", "-n", run.namespace, run.pod, "-c", run.container, "--timestamps"]
            words += [since] if since else []
            words += ["--previous"] if run.previous else []
            words += ["--follow"] if query.follow and run.running else []
            commands.append(shlex.join([*base, *words]))
        return commands

    def close(self) -> None:
        """Close all connections and end the thread."""
        with contextlib.suppress(CordboardError, RuntimeError):
            for future in self._followers:
                future.cancel()
            self._worker.call(self._kube.close())
        self._worker.close()

    def _where(self) -> list[str]:
        if len(self._namespaces) == 1:
            return ["-n", self._namespaces[0]]
        return ["--all-namespaces"]

    def _streams_of(self, pod: Object, query: Query) -> Iterator["_ContainerStream"]:
        for run in runs(pod):
            if run.key in self._seen or outside(run, query.since, query.until):
                continue
            if run.missing and run.missing.reason == "never_started":
                # Asked again while following: it may yet start.
                self._answers[run.name] = Answer(run.name, "container", shortfalls=(run.missing,))
                continue
            self._answers.pop(run.name, None)
            self._seen.add(run.key)
            log = Log(self._kube, self._pace, run, query.since, query.until)
            yield _ContainerStream(self._worker, log, query)

    def _wanted(self, query: Query) -> list[Object]:
        """Return the pods that may have spoken of what is asked for."""
        if not self._listed:
            self._worker.call(self._list(query))
            self._listed = True
        pods = list(self._pods.values())
        if query.session is None:
            return pods
        others = other_runners(pods, query.ran.runner) if query.ran else set()
        return [
            pod
            for pod in pods
            if session_of(pod) in (None, query.session) and pod["metadata"]["uid"] not in others
        ]

    # --- in the worker's thread

    async def _list(self, query: Query) -> None:
        places = await _patiently(self._places)
        allowed = await asyncio.gather(*(self._list_one(place) for place in places))
        if not any(allowed):
            raise ClusterForbiddenError(
                f"This user is not allowed to list pods in the {self.name}.",
                hint="Grant `get` and `list` on pods, and `get` on pods/log (docs/kubernetes.md).",
            )
        shown = [place for place, may in zip(places, allowed, strict=True) if may]
        await asyncio.gather(*(self._list_gone(place, query) for place in shown))
        if query.follow:
            self._followers = [self._worker.submit(self._follow(place)) for place in shown]

    async def _places(self) -> Sequence[str | None]:
        """Return where to look: one look at all namespaces where that is allowed."""
        if self._namespaces:
            return self._namespaces
        try:
            await self._kube.list("Pod", fields="metadata.name=none")
        except ClusterForbiddenError as refused:
            return await self._each_namespace(refused)
        return (None,)

    async def _each_namespace(self, refused: ClusterForbiddenError) -> Sequence[str]:
        try:
            found = await self._kube.list("Namespace")
        except ClusterForbiddenError:
            self._lacks("all other namespaces", "forbidden", refused.message)
            return (self._kube.namespace,)
        return [item["metadata"]["name"] for item in found.objects]

    async def _list_one(self, place: str | None) -> bool:
        try:
            found = await _patiently(
                lambda: self._kube.list("Pod", namespace=place, labels=self._labels)
            )
            if place in self._namespaces and not found.objects:
                await self._check_namespace(str(place))
        except ClusterForbiddenError as error:
            self._lacks(f"namespace {place}", "forbidden", error.message)
            return False
        self._pods |= {pod["metadata"]["uid"]: pod for pod in found.objects}
        return True

    async def _check_namespace(self, name: str) -> None:
        """Name a namespace that is not there: the API calls it empty."""
        try:
            await self._kube.get("Namespace", name)
        except NotFoundError:
            self._lacks(f"namespace {name}", "no_source", "the namespace does not exist")
        except ClusterForbiddenError:
            return

    def _lacks(self, name: str, reason: str, detail: str) -> None:
        lack = Shortfall(reason, detail)
        self._answers[name] = Answer(name, "namespace", shortfalls=(lack,))

    async def _list_gone(self, place: str | None, query: Query) -> None:
        """Name the cold runners whose Job tells of them, but whose pod has been deleted."""
        try:
            jobs = await self._kube.list("Job", namespace=place, labels=_JOBS)
        except CordboardError:
            return  # whoever may not see Jobs sees pods at least
        present = {
            (pod["metadata"].get("labels") or {}).get("job-name") for pod in self._pods.values()
        }
        for job in jobs.objects:
            if job["metadata"]["name"] not in present and has_run(job, query):
                name = f"{job['metadata']['namespace']}/{job['metadata']['name']}"
                lack = Shortfall("gone", "the Job exists, but its pod was deleted")
                self._answers[name] = Answer(name, "container", shortfalls=(lack,))

    async def _follow(self, place: str | None) -> None:
        async for event in follow(self._kube, "Pod", namespace=place, labels=self._labels):
            match event:
                case ObjectList(objects):
                    for pod in objects:
                        self._pods[pod["metadata"]["uid"]] = pod
                case ObjectChange(change, pod):
                    self._pods[pod["metadata"]["uid"]] = pod
                    if change == "DELETED":
                        self._gone.add(pod["metadata"]["uid"])
                case WatchFailure():
                    pass  # it is asked again; the logs that are open go on, or say why not


def other_runners(pods: Sequence[Object], runner: str) -> set[str]:
    """Return the uids of the pods that have the owner of a runner's pod, and so are runners beside it.

    Args:
        pods: The pods of a cluster.
        runner: The runner's id, which begins with its pod's name.
    """
    own = [pod for pod in pods if runner.startswith(f"{pod['metadata']['name']}-")]
    owners = {owner for pod in own for owner in _owners(pod)}
    kept = {pod["metadata"]["uid"] for pod in own}
    return {
        pod["metadata"]["uid"]
        for pod in pods
        if pod["metadata"]["uid"] not in kept and owners & _owners(pod)
    }


def _owners(pod: Object) -> set[str]:
    return {owner["uid"] for owner in pod["metadata"].get("ownerReferences") or ()}


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask again, a little later, an API that says that it is too busy."""
    for pause_s in PAUSES_S:
        try:
            return await ask()
        except ClusterUnavailableError as error:
            if error.retry_after_s is None:
                raise
            await asyncio.sleep(max(pause_s, error.retry_after_s))
    return await ask()


class _ContainerStream(Stream):
    """One run of one container, read in the thread of the caller."""

    kind = "container"

    def __init__(self, worker: Worker, log: Log, query: Query) -> None:
        self.name = log.run.name
        self._worker = worker
        self._log = log
        self._query = query
        self._waiting: Future[bytes] | None = None
        self._closed = False

    def read(self, *, follow: bool = False) -> Iterator[bytes]:
        """Yield whole lines, each behind its timestamp."""
        follows = follow and self._log.run.running
        chunks = self._log.chunks(follow=follows)
        while not self._closed:
            self._waiting = self._worker.submit(_next(chunks, 0 if follows else BATCH_BYTES))
            try:
                chunk = self._waiting.result()
            except CancelledError:
                return
            if not chunk:
                return
            yield chunk

    def shortfalls(self) -> Sequence[Shortfall]:
        """Say why something is missing."""
        return tuple(self._log.shortfalls)

    def close(self) -> None:
        """End a `read` that blocks."""
        self._closed = True
        if self._waiting is not None:
            self._waiting.cancel()


async def _next(chunks: AsyncGenerator[bytes], at_least: int) -> bytes:
    """Return the next chunks, with so many bytes or more unless the log ends; nothing at its end."""
    parts, size = [], 0
    async for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size >= at_least:
            break
    return b"".join(parts)
