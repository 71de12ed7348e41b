"""The context follows the work into tasks, threads and callbacks, and no further."""

import asyncio
import functools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

from cordboard.context import EMPTY, Context, bind_process, bound, current, threads, variable


@pytest.fixture(autouse=True)
def _carrying() -> Iterator[None]:
    threads.install()
    threads.install()  # again is harmless
    yield
    bind_process(EMPTY)


def session() -> str | None:
    return current().session_id


def test_thread_carries_the_context_of_its_start() -> None:
    """So do subclasses of Thread, and Timer."""
    seen: list[str | None] = []

    class Worker(threading.Thread):
        def run(self) -> None:
            seen.append(session())

    with bound(session_id="a"):
        work: list[threading.Thread] = [
            threading.Thread(target=lambda: seen.append(session())),
            Worker(),
            threading.Timer(0, lambda: seen.append(session())),
        ]
        for thread in work:
            thread.start()
    for thread in work:
        thread.join()
    outside = threading.Thread(target=lambda: seen.append(session()))
    outside.start()
    outside.join()
    assert seen == ["a", "a", "a", None]
    assert "run" not in vars(work[1])


def test_executor_carries_the_context_of_each_submit() -> None:
    """A worker that was started in one session never logs for it during another call."""
    with ThreadPoolExecutor(1) as pool:
        with bound(session_id="a"):
            first = pool.submit(session)
        with bound(session_id="b"):
            second = list(pool.map(lambda _: session(), range(2)))
        third = pool.submit(session)
        assert [first.result(), *second, third.result()] == ["a", "b", "b", None]


@pytest.mark.parametrize("library", ["asyncio", "uvloop"])
def test_event_loop_carries_the_context_into_tasks_threads_and_callbacks(library: str) -> None:
    """create_task, to_thread, run_in_executor and all kinds of callbacks carry the context."""
    loops = pytest.importorskip(library)
    with asyncio.Runner(loop_factory=loops.new_event_loop) as runner:
        assert runner.run(ways_of_a_loop()) == ["a"] * 6


async def ways_of_a_loop() -> list[str | None]:
    """Return the session at the end of each way out of a loop, and from a thread back into it."""
    loop = asyncio.get_running_loop()
    called: asyncio.Future[str | None] = loop.create_future()
    from_thread: asyncio.Future[str | None] = loop.create_future()
    waiting: list[object] = []

    async def task() -> str | None:
        await asyncio.sleep(0)
        return session()

    def in_a_thread() -> None:
        loop.call_soon_threadsafe(lambda: from_thread.set_result(session()))
        waiting.append(asyncio.run_coroutine_threadsafe(task(), loop))

    with bound(session_id="a"):
        loop.call_later(0, lambda: called.set_result(session()))
        worker = threading.Thread(target=in_a_thread)
        worker.start()
    worker.join()
    with bound(session_id="a"):
        tasks = [
            asyncio.create_task(task()),
            asyncio.create_task(asyncio.to_thread(session)),
            loop.run_in_executor(None, session),
        ]
    assert session() is None
    return [
        *await asyncio.gather(*tasks),
        await called,
        await from_thread,
        await asyncio.wrap_future(waiting[0]),  # type: ignore[arg-type]
    ]


def test_carry_binds_the_context_in_a_native_thread() -> None:
    """``carry`` takes the context to a library's own thread, and leaves nothing behind there."""
    seen: list[str | None] = []

    def call_back(word: str) -> str:
        seen.append(session())
        return word

    with bound(session_id="a"):
        carried = threads.carry(call_back)

    def library() -> None:
        assert carried("x") == "x"
        seen.append(session())

    thread = threading.Thread(target=library)
    thread.start()
    thread.join()
    assert seen == ["a", None]
    assert carried.__name__ == "call_back"


def test_process_context_is_bound_in_every_thread() -> None:
    """Threads that were started without ``threading`` have it as well."""
    bind_process(Context(session_id="only"))
    seen: list[str | None] = []
    done = threading.Event()

    def raw() -> None:
        seen.append(session())
        done.set()

    import _thread

    _thread.start_new_thread(raw, ())
    assert done.wait(10)
    assert seen == ["only"]


async def test_consumer_has_no_session_between_two_messages() -> None:
    """A consumer that binds the session of each message has none in between."""
    queue: asyncio.Queue[str | None] = asyncio.Queue()
    seen: list[str | None] = []

    async def consume() -> None:
        while (message := await queue.get()) is not None:
            seen.append(session())
            with bound(session_id=message):
                await asyncio.sleep(0)
                seen.append(session())
        seen.append(session())

    consumer = asyncio.create_task(consume())
    for message in ("a", "b", None):
        queue.put_nowait(message)
    await consumer
    assert seen == [None, "a", None, "b", None]


def test_thousands_of_interleaved_sessions_stay_separate() -> None:  # noqa: C901 - one scene
    """Tasks in event loops of several threads, and in executors, always have their own session."""
    wrong: list[tuple[str, str | None]] = []
    count = [0]
    pool = ThreadPoolExecutor(4)

    def check(mine: str) -> None:
        if session() != mine:
            wrong.append((mine, session()))
        count[0] += 1

    async def one(mine: str, random: Random) -> None:
        with bound(session_id=mine):
            for _ in range(4):
                step = random.randrange(4)
                if step == 0:
                    await asyncio.sleep(0)
                elif step == 1:
                    await asyncio.get_running_loop().run_in_executor(
                        pool, functools.partial(check, mine)
                    )
                elif step == 2:
                    await asyncio.create_task(inner(mine))
                else:
                    asyncio.get_running_loop().call_soon(check, mine)
                check(mine)

    async def inner(mine: str) -> None:
        await asyncio.sleep(0)
        check(mine)

    async def many(name: str) -> None:
        random = Random(name)
        await asyncio.gather(*(one(f"{name}-{i}", random) for i in range(500)))
        await asyncio.sleep(0)

    loops = [threading.Thread(target=lambda n=n: asyncio.run(many(f"t{n}"))) for n in range(6)]
    for thread in loops:
        thread.start()
    for thread in loops:
        thread.join()
    pool.shutdown()
    assert not wrong
    assert count[0] > 12_000


def test_bound_merges_and_restores() -> None:
    """A block adds to the outer binding, absent values change nothing, and its end restores it."""
    with bound(session_id="a", user_id="u"):
        with bound(user_name="Ada", session_id="", user_id=None):
            assert current() == Context(session_id="a", user_id="u", user_name="Ada")
        assert current() == Context(session_id="a", user_id="u")
    assert variable.get() is None
    with pytest.raises(TypeError, match="session"):
        bound(session="x").__enter__()


def test_starting_a_thread_twice_raises() -> None:
    """The error is that of the standard library."""
    with bound(session_id="a"):
        thread = threading.Thread(target=lambda: time.sleep(0))
        thread.start()
        thread.join()
        with pytest.raises(RuntimeError):
            thread.start()
