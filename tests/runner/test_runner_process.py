"""A warm runner: its command with a real fork server, real bots and a real store."""

import asyncio
import contextlib
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cordboard.store import RedisStore
from plane_support import Processes, ask, gone_within, is_running, parent_of, ready
from runner.runner_support import Runner, client, litter_of, processes, write_bot
from tests_support import until

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Processes]:
    directory = tmp_path_factory.mktemp("runner")
    for made in processes(directory, redis_url):
        made.over |= {"CORDBOARD_OFFER_TIMEOUT_S": "1", "CORDBOARD_BOT_MEMORY_MB": "1500"}
        made.spawn("runner", "--bot", write_bot(directory), "--capacity", "9")
        yield made


@pytest.fixture
async def runner(plane: Processes) -> AsyncIterator[Runner]:
    (part,) = plane.parts
    await ready(part)
    async with RedisStore(plane.redis_url) as store, client() as http:
        yield Runner(part, store, http)
        for session in (await store.sessions(limit=500))[0]:
            if session.state == "queued":  # after a death of its bot
                await store.leave(session_id=session.session_id)
            elif session.state == "running":
                await http.post(f"{part.url}/sessions/{session.session_id}/leave")


class TestStart:
    async def test_start_forks_a_bot_with_pipecats_arguments(
        self, runner: Runner, tmp_path: Path
    ) -> None:
        """A start forks a process; bot() gets Pipecat's arguments with the session in the body."""
        file = tmp_path / "report.json"
        launch = await runner.grant()
        status, answer = await runner.start(
            launch, attempt=2, body={"do": "tell", "file": str(file), "x": 1}
        )
        assert status == 200
        assert answer["sessionId"] == launch.session_id
        assert answer["epoch"] == launch.epoch
        assert answer["botPid"] != runner.part.pid
        assert (await runner.end(launch)).reason == "bot_finished"
        report = json.loads(file.read_text())
        assert report["kind"] == "PipecatSessionArguments"
        assert report["session_id"] == launch.session_id
        assert report["body"] == {
            "do": "tell",
            "file": str(file),
            "x": 1,
            "room_url": launch.room_url,
            "session_id": launch.session_id,
            "epoch": launch.epoch,
            "attempt": 2,
        }

    async def test_bot_sees_its_session_and_no_secret(self, runner: Runner, tmp_path: Path) -> None:
        """A bot sees the environment of its session, without secrets or the URL of Redis."""
        files = [tmp_path / f"{i}.json" for i in range(2)]
        launches = [await runner.run("tell", file=str(file)) for file in files]
        for launch, file in zip(launches, files, strict=True):
            await runner.end(launch)
            env = json.loads(file.read_text())["env"]
            assert env["BOT_SESSION_ID"] == launch.session_id
            assert env["BOT_SESSION_EPOCH"] == str(launch.epoch)
            assert env["BOT_ROOM_URL"] == launch.room_url
            assert "BOT_SESSION_USER_ID" not in env
            assert not [name for name in env if "SECRET" in name or "REDIS" in name]
            assert env["ORT_DISABLE_TELEMETRY"] == "1"  # nothing is reported to anyone's maker

    async def test_repeated_start_returns_the_same_bot(self, runner: Runner) -> None:
        """A repetition with the same session and epoch gets the same answer and starts no second bot."""
        launch = await runner.grant()
        answers = await asyncio.gather(*(runner.start(launch) for _ in range(10)))
        assert {status for status, _ in answers} == {200}
        assert len({answer["botPid"] for _, answer in answers}) == 1
        await until(lambda: "bot.started" in runner.part.events(launch.session_id))
        assert runner.part.events(launch.session_id).count("bot.forked") == 1

    async def test_start_repeated_after_the_end_starts_nothing(self, runner: Runner) -> None:
        """A start that is repeated after the bot's end starts no bot."""
        launch = await runner.run("wait", seconds=0)
        await runner.end(launch)
        status, answer = await runner.start(launch)
        assert (status, answer["status"]) == (200, "ended")

    async def test_expired_id_starts_again_in_another_room(self, runner: Runner) -> None:
        """An id whose record has expired may be used again in another room, from the first epoch."""
        old = await runner.run("wait", seconds=0)
        await runner.end(old)
        await runner.store.connection.client.delete(runner.store.keys.session(old.session_id))
        new = await runner.grant(session_id=old.session_id, room=f"{old.room_url}/other")
        assert (new.session_id, new.epoch) == (old.session_id, old.epoch)
        status, answer = await runner.start(new)
        assert (status, answer["status"]) == (200, "running")

    async def test_stale_epoch_is_refused(self, runner: Runner) -> None:
        """A lower epoch than the known one is refused, and the bot goes on."""
        launch = await runner.run("wait")
        for over in ({"epoch": launch.epoch - 1 or 1, "sessionId": "other"}, {"epoch": 1}):
            if launch.epoch == 1 and over["epoch"] == 1:
                continue
            status, answer = await runner.start(launch, **over)
            assert (status, answer["code"]) == (409, "stale_epoch")
        assert is_running(await runner.pid(launch))

    async def test_bot_never_runs_unless_the_store_confirms(self, runner: Runner) -> None:
        """A session that the store does not confirm never calls bot() and leaves no process."""
        launch = await runner.grant()
        await runner.store.leave(session_id=launch.session_id)
        status, answer = await runner.start(launch)
        assert (status, answer["code"]) == (409, "conflict")
        forked = await until(
            lambda: [r for r in runner.lines(launch, "runner") if r.get("event") == "bot.forked"]
        )
        assert not is_running(forked[0]["meta"]["pid"])
        assert "bot.started" not in runner.part.events(launch.session_id)

    async def test_higher_epoch_replaces_the_bot(self, runner: Runner) -> None:
        """A higher epoch of the room kills the present bot before the new one starts."""
        launch = await runner.run("wait")
        pid = await runner.pid(launch)
        await runner.store.connection.client.zadd(runner.store.keys.leases, {launch.session_id: 1})
        recovered = await runner.store.placement.recover(launch.session_id, launch.epoch)
        await runner.store.placement.assign(launch.session_id, recovered.epoch)
        status, answer = await runner.start(launch, epoch=recovered.epoch, attempt=2)
        assert status == 200
        assert answer["botPid"] != pid
        assert not is_running(pid)

    async def test_start_over_capacity_is_refused(self, runner: Runner) -> None:
        """A start over the capacity is refused, whatever the store has counted."""
        launches = [await runner.run("wait") for _ in range(9)]
        extra = await runner.grant_despite(launches[0])
        status, answer = await runner.start(extra)
        assert (status, answer["code"]) == (409, "busy")

    async def test_start_without_session_id_gets_one(self, runner: Runner) -> None:
        """A start without a session id gets one, with a warning, and takes the room."""
        status, answer = await runner.ask_start({"room_url": "https://rooms.example/direct"})
        assert status == 200
        record = await runner.store.session(answer["sessionId"])
        assert (record.state, record.pid) == ("running", answer["botPid"])
        (warned,) = await until(
            lambda: [
                r
                for r in runner.part.records
                if r["level"] == "warn" and r["sessionId"] == answer["sessionId"]
            ]
        )
        assert warned["message"] == "The start had no sessionId; generated one"

    @pytest.mark.parametrize(
        "over", [{"sessionId": "bad id"}, {"room_url": "nowhere"}, {"bot": "unknown"}, {"epoch": 0}]
    )
    async def test_malformed_start_is_refused(
        self, runner: Runner, over: dict[str, object]
    ) -> None:
        """An invalid body is answered with 422, and nothing is forked."""
        body = {"sessionId": "a", "epoch": 1, "room_url": "https://rooms.example/x"} | over
        status, _ = await runner.ask_start(body)
        assert status == 422

    async def test_request_without_secret_is_refused(self, runner: Runner) -> None:
        """A request with a wrong secret is answered with 401."""
        async with runner.client.get(
            f"{runner.part.url}/sessions", headers={"Authorization": "Bearer wrong"}
        ) as answer:
            assert answer.status == 401


class TestOutput:
    async def test_output_becomes_raw_records(self, runner: Runner) -> None:
        """Lines from print, from os.write and from C become raw records of the session."""
        launch = await runner.run("speak")
        await runner.end(launch)
        await until(lambda: "session.ended" in runner.part.events(launch.session_id))
        raw = {r["message"]: r for r in runner.lines(launch) if r.get("raw")}
        assert set(raw) == {
            "printed",
            "to stderr",
            "written to 1",
            "from C",
            "no newline at the end",
        }
        assert raw["to stderr"]["tag"] == "stderr"
        assert raw["from C"]["tag"] == "stdout"

    async def test_events_of_a_session_appear_once_and_in_order(self, runner: Runner) -> None:
        """Each event of a session appears once, in order."""
        launch = await runner.run("wait", seconds=0)
        await runner.end(launch)
        await until(lambda: "session.ended" in runner.part.events(launch.session_id))
        assert runner.part.events(launch.session_id) == [
            "start.received",
            "bot.forked",
            "bot.started",
            "bot.finished",
            "session.ended",
        ]


class TestEnd:
    @pytest.mark.parametrize(
        ("do", "body", "detail"),
        [
            ("crash", {}, "ValueError"),
            ("exit_with", {"status": 3}, "exit status 3"),
            ("exit_cleanly", {"status": 4}, "SystemExit: 4"),
        ],
    )
    async def test_crash_is_recorded_with_its_detail(
        self, runner: Runner, do: str, body: dict[str, object], detail: str
    ) -> None:
        """A bot that raises or dies fails with the reason bot_crashed and a detail."""
        launch = await runner.run(do, **body)
        record = await runner.end(launch)
        assert (record.state, record.reason, record.detail) == ("failed", "bot_crashed", detail)
        await until(lambda: "session.ended" in runner.part.events(launch.session_id))
        assert runner.part.events(launch.session_id).count("bot.crashed") == 1

    async def test_text_of_an_exception_stands_in_the_bots_output_alone(
        self, runner: Runner
    ) -> None:
        """Without consent no record has it, in the log and in Redis; the traceback is a raw line."""
        launch = await runner.run("crash")
        await runner.end(launch)
        await until(lambda: "session.ended" in runner.part.events(launch.session_id))
        lines = [line for line in runner.part.records if line["sessionId"] == launch.session_id]
        said = [line for line in lines if "expected error" in str(line)]
        stack = [line["error"]["stack"] for line in lines if line.get("event") == "bot.crashed"]
        assert said
        assert all(
            line.get("raw") and line["tag"] == "stderr" for line in said if "error" not in line
        )
        assert [line["error"]["message"] for line in lines if "error" in line] == [""]
        assert "in crash" in stack[0]

    @pytest.mark.parametrize("how", ["segfault", "killed"])
    async def test_session_of_a_killed_bot_process_is_queued_again(
        self, runner: Runner, how: str
    ) -> None:
        """By its runner, at once, with a higher epoch, as the next attempt; the crash is logged once."""
        launch = await runner.run("segfault" if how == "segfault" else "wait")
        if how == "killed":
            os.kill(await runner.pid(launch), signal.SIGKILL)
        record = await runner.end(launch)
        assert (record.state, record.attempt, record.recovery) == ("queued", 2, "bot_died")
        assert record.epoch > launch.epoch
        url = f"{runner.part.url}/sessions/{launch.session_id}"
        _, told = await ask(runner.client, "GET", url)
        # Whoever asks before the session is queued again must not take this for its end.
        assert (told["status"], told["handOver"]) == ("ended", "bot_died")
        await until(lambda: "session.recovered" in runner.part.events(launch.session_id))
        assert runner.part.events(launch.session_id).count("bot.crashed") == 1

    async def test_third_killed_process_fails_the_session(self, runner: Runner) -> None:
        """With the reason of the last death."""
        launch = await runner.run("wait")
        for attempt in (1, 2, 3):
            os.kill(await runner.pid(launch), signal.SIGKILL)
            record = await runner.end(launch)
            if attempt < 3:
                launch = replace(launch, epoch=record.epoch)
                await runner.store.placement.assign(launch.session_id, launch.epoch)
                status, _ = await runner.start(launch, body={"do": "wait"}, attempt=attempt + 1)
                assert status == 200
        assert (record.state, record.reason, record.attempt) == ("failed", "bot_crashed", 3)
        assert record.detail == "killed by SIGKILL"

    async def test_leave_escalates_until_the_bot_is_gone(self, runner: Runner) -> None:
        """Leave stops a bot by cancellation, SIGTERM or SIGKILL, and answers when it has ended."""
        launches = [
            await runner.run(do) for do in ("wait", "ignore_cancellation", "ignore_all", "spin")
        ]
        pids = [await runner.pid(launch) for launch in launches]
        await asyncio.sleep(0.3)
        answers = await asyncio.gather(*(runner.leave(launch) for launch in launches))
        assert [body["reason"] for _, body in answers] == ["left"] * 4
        assert not [pid for pid in pids if is_running(pid)]
        assert [(await runner.end(launch)).state for launch in launches] == ["ended"] * 4
        await until(lambda: "session.ended" in runner.part.events(launches[2].session_id))
        said = [
            [r["message"] for r in runner.lines(launch, "runner") if "ignores" in r["message"]]
            for launch in launches
        ]
        assert [len(words) for words in said[:3]] == [0, 1, 2]

    async def test_children_of_a_bot_end_with_it(self, runner: Runner, tmp_path: Path) -> None:
        """A process that a bot has started ends with the bot."""
        file = tmp_path / "pid"
        launch = await runner.run("child", file=str(file))
        await until(file.exists)
        pid = int(await until(file.read_text))
        await runner.leave(launch)
        assert gone_within(pid, 5)

    @pytest.mark.parametrize("end", ["left", "killed", "finished", "ignore_cancellation"])
    async def test_orphans_of_a_bot_end_with_its_session(self, runner: Runner, end: str) -> None:
        """Processes that left the bot's process group or lost their parent end with the session."""
        then = {"finished": "finish", "ignore_cancellation": "ignore_all"}.get(end, "wait")
        launch = await runner.run("litter", then=then)
        pids = await litter_of(runner, launch)
        if end == "killed":
            os.kill(await runner.pid(launch), signal.SIGKILL)
        elif end != "finished":
            await runner.leave(launch)
        await runner.end(launch)
        assert [pid for pid in pids if is_running(pid)] == []

    async def test_orphans_of_other_sessions_stay(self, runner: Runner) -> None:
        """The end of one session ends no process of another."""
        launches = [await runner.run("litter") for _ in range(2)]
        pids = [await litter_of(runner, launch) for launch in launches]
        await runner.leave(launches[0])
        assert [[is_running(pid) for pid in each] for each in pids] == [[False] * 2, [True] * 2]

    async def test_leave_stored_in_redis_is_read_at_the_next_renewal(self, runner: Runner) -> None:
        """A leave that was stored while the runner was not asked takes effect at the next renewal."""
        launch = await runner.run("wait")
        await runner.store.leave(session_id=launch.session_id)
        assert (await runner.end(launch)).reason == "left"

    async def test_session_ends_after_its_maximum_duration(self, runner: Runner) -> None:
        """A session ends after its maximum duration."""
        launch = await runner.run("wait", maxDurationSeconds=1)
        record = await runner.end(launch)
        assert (record.state, record.reason) == ("ended", "max_duration")

    async def test_webrtc_room_without_an_offer_ends(self, runner: Runner) -> None:
        """A session in a webrtc: room ends if no offer arrives in time."""
        launch = await runner.run("wait", room_url="webrtc:alone")
        record = await runner.end(launch)
        assert (record.state, record.reason) == ("ended", "user_absent")

    async def test_bot_stops_when_its_room_is_granted_again(self, runner: Runner) -> None:
        """A holder that learns that its room was granted again stops at once and writes no end."""
        launch = await runner.run("wait")
        pid = await runner.pid(launch)
        await runner.store.connection.client.zadd(runner.store.keys.leases, {launch.session_id: 1})
        await runner.store.placement.recover(launch.session_id, launch.epoch)
        assert gone_within(pid, 15)
        await until(lambda: "lease.lost" in runner.part.events(launch.session_id))
        assert (await runner.store.session(launch.session_id)).state == "queued"
        await runner.store.leave(session_id=launch.session_id)

    async def test_exit_with_status_zero_is_clean(self, runner: Runner) -> None:
        """``sys.exit(0)`` in a bot is not a crash."""
        record = await runner.end(await runner.run("exit_cleanly", status=0))
        assert (record.state, record.reason) == ("ended", "bot_finished")


class TestIsolation:
    @pytest.mark.parametrize("do", ["spin", "close_all", "leak", "segfault"])
    async def test_broken_bot_harms_no_other(self, runner: Runner, do: str) -> None:
        """A bot that spins, closes descriptors, leaks or dies does not affect other bots."""
        good = await runner.run("wait")
        bad = await runner.run(do)
        if do == "spin":
            await runner.leave(bad)
        record = await runner.end(bad, 40)
        if do == "segfault":
            assert record.recovery == "bot_died"
        else:
            assert record.reason == ("left" if do == "spin" else "bot_crashed")
        assert is_running(await runner.pid(good))
        after = await runner.run("wait", seconds=0)
        assert (await runner.end(after)).reason == "bot_finished"

    async def test_no_descriptors_leak(self, runner: Runner, tmp_path: Path) -> None:
        """A runner and its bots hold no more descriptors after many sessions than after one."""

        async def one(name: str) -> int:
            launch = await runner.run("tell", file=str(tmp_path / name))
            await runner.end(launch)
            report = json.loads((tmp_path / name).read_text())
            return int(report["files"])

        def held() -> int:
            return len(list(Path(f"/proc/{runner.part.pid}/fd").iterdir()))

        first = await one("first")
        before = held()
        for i in range(5):
            assert await one(f"{i}") == first
        await until(lambda: held() <= before)

    async def test_fifty_sessions_leak_and_close_no_descriptor(self, runner: Runner) -> None:
        """Fifty sessions leave no descriptor open and close none of another session."""
        parents = [runner.part.pid]

        def held() -> int:
            return sum(_open_but_network(pid) for pid in parents)

        async def one(number: int) -> None:
            launch = await runner.run("crash" if number % 5 == 0 else "speak")
            await runner.end(launch)

        talking = await runner.run("talk")
        parents.append(parent_of(await runner.pid(talking)))
        await one(1)
        await until(lambda: len(runner.part.events(talking.session_id)) > 0)
        before = held()
        for first in range(0, 50, 5):
            await asyncio.gather(*(one(number) for number in range(first, first + 5)))
        await until(lambda: held() <= before)
        heard = len(runner.lines(talking))
        await until(lambda: len(runner.lines(talking)) > heard + 1)
        await runner.leave(talking)
        said = [r["message"] for r in runner.lines(talking) if r["message"].isdigit()]
        assert said == [str(number) for number in range(len(said))]
        assert len(said) > heard

    async def test_unknown_session_is_not_found(self, runner: Runner) -> None:
        """An unknown session is answered with 404."""
        async with runner.client.get(f"{runner.part.url}/sessions/never") as answer:
            assert answer.status == 404
            assert re.match("application/problem", answer.headers["Content-Type"])


def _open_but_network(pid: int) -> int:
    """Return how many descriptors a process holds, without connections to Redis and of HTTP."""
    lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    network = {f"socket:[{line.split()[9]}]" for line in lines}
    count = 0
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += str(path.readlink()) not in network
    return count
