"""A bot cannot write as others, exhaust the machine, or reveal keys."""

import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cordboard.processes import children_of
from cordboard.store import RedisStore
from plane_support import Processes, gone_within, ready
from runner.runner_support import Runner, client, litter_of, processes, write_bot
from tests_support import until

pytestmark = pytest.mark.timeout(90)

BOT = '''
"""Calls the function that runner_args.body["do"] names."""
import asyncio, contextlib, json, os, resource, subprocess, sys
from pathlib import Path
from dotenv import load_dotenv

load_dotenv()
os.environ["REDIS_URL"] = "redis://memory.example:6379/3"
runners_own = os.dup(1)  # what a bot file finds when it is imported
print("a word at import")

class Tee:
    def __init__(self, file):
        self._file = file
    def write(self, text):
        return self._file.write(text)
    def flush(self):
        self._file.flush()

sys.stdout = Tee(sys.stdout)

async def bot(args):
    await globals()[args.body["do"]](args)

async def tell(args):
    print("through the tee")
    files = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # of the list itself
            files[name] = os.readlink(f"/proc/self/fd/{name}")
    found = {
        "env": dict(os.environ),
        "files": files,
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "oom": Path("/proc/self/oom_score_adj").read_text().strip(),
    }
    Path(args.body["file"]).write_text(json.dumps(found))

async def fill(args):
    with open(args.body["file"], "wb") as file:
        try:
            file.seek(2 << 20)
            file.write(b"x")
            file.flush()
        except OSError as error:
            print("refused", error.errno)

async def start_many(args):
    started = [subprocess.Popen(["sleep", "600"], start_new_session=True) for _ in range(7)]
    print("litter", *(process.pid for process in started))
    sys.stdout.flush()
    await asyncio.sleep(600)

async def crash(args):
    raise ValueError(
        "401 from https://api.example/v1?api_key=sk-live-0123456789abcdef, with "
        "sk-proj-abcdefghijkl0123 and postgres://app:hunter2@db.internal:5432/x"
    )

async def babble(args):
    links = {n: link(n) for n in os.listdir("/proc/self/fd")}
    sockets = [int(n) for n, target in links.items() if target.startswith("socket:")]
    for number in sockets:
        for words in args.body["words"]:
            with contextlib.suppress(OSError):
                os.write(number, words.encode() + b"\\n")

def link(name):
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/self/fd/{name}")
    return ""

async def forge(args):
    from cordboard.emit.pipeline import pipeline
    record = json.loads(pipeline_line())
    for over in args.body["claims"]:
        line = json.dumps({**record, **over}, separators=(",", ":")).encode() + b"\\n"
        pipeline.output.put_now(line)
        os.write(runners_own, line)
    twice = json.dumps(record, separators=(",", ":"))[1:].encode()
    pipeline.output.put_now(b'{"sessionId":"victim",' + twice + b"\\n")

def pipeline_line():
    from cordboard import get_logger
    from cordboard.emit.pipeline import pipeline
    lines = []
    pipeline.add_observer(lines.append)
    get_logger("forger").info("mine")
    pipeline.observers.clear()
    pipeline.update_sink()
    return lines[0]
'''


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Processes]:
    directory = tmp_path_factory.mktemp("isolation")
    (directory / "bot").mkdir()
    (directory / "bot" / ".env").write_text("SPEECH_KEY=beside-the-bot\n")
    file = write_bot(directory / "bot", BOT)
    for made in processes(directory, redis_url):
        made.over |= {"CORDBOARD_BOT_FILE_MB": "1", "CORDBOARD_BOT_PROCESSES": "5"}
        words = {"CORDBOARD_CONTENT": "words"}  # or the detail of a crash has no text at all
        made.spawn("runner", "--bot", file, "--capacity", "9", env=words)
        yield made


@pytest.fixture
async def runner(plane: Processes) -> AsyncIterator[Runner]:
    (part,) = plane.parts
    await ready(part)
    async with RedisStore(plane.redis_url) as store, client() as http:
        yield Runner(part, store, http)


async def test_bot_writes_lines_of_its_own_session_only(runner: Runner) -> None:
    """A bot writes lines of its own session and service only, whatever its records say.

    Neither its pipes nor a descriptor from its import lets it write lines of another session.
    """
    claims = [
        {"service": "gateway"},
        {"sessionId": "victim"},
        {"event": "session.ended"},
        {"userId": "boss", "userName": "Boss", "room": "webrtc:other", "epoch": 99},
        {"boot": "0123abcd"},
        {"service": "my-tool"},
        {"sessionId": "server:host"},
        {"timestamp": "1999-01-01T00:00:00.000000Z"},
        {"timestamp": "2999-99-99T00:00:00.000000Z", "sessionId": "server:host"},
    ]
    launch = await runner.run("forge", claims=claims)
    await runner.end(launch)
    records = await until(
        lambda: (
            len(found := [r for r in runner.part.records if r["tag"] == "forger"]) >= 10 and found
        )
    )
    for record in records:
        assert record["service"] in {"bot", "my-tool"}
        assert record.get("event") is None
        assert record["userId"] is None
        assert record["boot"] != "0123abcd"
        assert record["timestamp"][:4] not in {"1999", "2999"}
        if record["sessionId"] == launch.session_id:
            assert (record["room"], record["epoch"]) == (launch.room_url, launch.epoch)
        else:  # by way of what was kept of the import
            assert record["sessionId"].startswith("server:")
            assert "room" not in record
    claimed = [r["meta"]["claimed"] for r in runner.lines(launch) if r.get("raw") and "meta" in r]
    assert [c["service"] for c in claimed] == ["gateway", "bot", "bot"]
    assert [c["sessionId"] for c in claimed] == [launch.session_id, "victim", launch.session_id]
    assert claimed[2]["event"] == "session.ended"
    assert not [r for r in runner.part.records if r["sessionId"] == "victim"]


async def test_invalid_control_messages_end_a_session_once(runner: Runner) -> None:
    """Whatever a bot writes to its control channel, its session ends once."""
    words = (
        *('{"ended":[]}', '{"lag_ms":"x"}', '{"answer":{}}', '{"answer":1}', "[]", "1"),
        *(
            '{"ended":"bot_crashed","detail":{}}',
            '{"ended":"not a reason","detail":"' + "x" * 9999 + '"}',
        ),
    )
    launch = await runner.run("babble", words=words)
    record = await runner.end(launch)
    assert record.reason == "bot_finished"
    assert len(record.detail or "") <= 500


async def test_crash_detail_contains_no_key(runner: Runner) -> None:
    """A key in an exception's text reaches neither the session record nor a response."""
    launch = await runner.run("crash")
    record = await runner.end(launch)
    assert record.detail is not None
    assert record.detail.startswith(
        "ValueError: 401 from https://api.example/v1?api_key=[redacted]"
    )
    async with runner.client.get(f"{runner.part.url}/sessions") as answer:
        text = await answer.text()
    stored = await runner.store.connection.client.dump(runner.store.keys.session(launch.session_id))
    for key in ("sk-live", "sk-proj", "hunter2"):
        assert key not in record.detail
        assert key not in text
        assert key.encode() not in (stored or b"")


async def test_bot_process_starts_with_its_own_environment_files_and_limits(
    runner: Runner, tmp_path: Path
) -> None:
    """A bot process has exactly the environment, descriptors and limits that are listed here."""
    file = tmp_path / "report.json"
    launch = await runner.run("tell", file=str(file))
    await runner.end(launch)
    found = json.loads(file.read_text())
    assert found["env"]["SPEECH_KEY"] == "beside-the-bot"
    assert found["env"]["REDIS_URL"] == "redis://memory.example:6379/3"
    assert (found["core"], found["oom"]) == ([0, 0], "500")
    kinds = {name: link.partition(":[")[0] for name, link in found["files"].items()}
    sockets = [name for name, kind in kinds.items() if kind == "socket"]
    assert set(kinds.values()) <= {
        "/dev/null",
        "pipe",  # output, records, the fork server's two and the resource tracker's
        "socket",
        "anon_inode",  # of an event loop
        "/memfd:cordboard-lease (deleted)",
    }
    assert len(sockets) <= 4, found["files"]  # two to the runner, and the event loop's two


async def test_replaced_standard_output_is_captured(runner: Runner, tmp_path: Path) -> None:
    """A stream that a bot file installs as standard output needs only ``write`` and ``flush``."""
    launch = await runner.run("tell", file=str(tmp_path / "report.json"))
    await runner.end(launch)
    assert "through the tee" in [r["message"] for r in runner.lines(launch)]
    imported = [r for r in runner.part.records if r["message"] == "a word at import"]
    assert {(r["service"], r.get("raw")) for r in imported} == {("bot", True)}


async def test_file_over_the_limit_is_refused(runner: Runner, tmp_path: Path) -> None:
    """A write that grows a file beyond the limit fails."""
    launch = await runner.run("fill", file=str(tmp_path / "large"))
    await runner.end(launch)
    assert "refused 27" in [r["message"] for r in runner.lines(launch)]


async def test_bot_with_too_many_processes_is_killed(runner: Runner) -> None:
    """A bot with too many processes ends as crashed, together with them."""
    launch = await runner.run("start_many")
    started = await litter_of(runner, launch)
    record = await runner.end(launch)
    assert record.reason == "bot_crashed"
    assert "more than 5 processes" in (record.detail or "")
    assert all(gone_within(pid, 5) for pid in started)


def of_process(pid: int, what: str) -> bytes:
    with contextlib.suppress(ProcessLookupError):  # one that has ended
        return Path(f"/proc/{pid}/{what}").read_bytes()
    return b""


async def test_killed_resource_tracker_is_not_restarted_with_secrets(
    runner: Runner, tmp_path: Path
) -> None:
    """A bot can kill the resource tracker; it is not started again with the runner's secrets."""
    children = children_of(runner.part.pid)
    trackers = [pid for pid in children if b"resource_tracker" in of_process(pid, "cmdline")]
    os.kill(trackers[0], signal.SIGKILL)
    assert gone_within(trackers[0], 5)
    launch = await runner.run("tell", file=str(tmp_path / "report.json"))
    await runner.end(launch)
    for pid in children_of(runner.part.pid):
        assert b"BOT_CONTROL_SHARED_SECRET" not in of_process(pid, "environ")
