"""Whom `up` tells its secrets."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cordboard.processes import adopt_orphans, children_of, is_descendant_of
from cordboard.settings.running import request_secrets
from cordboard.up.secret_socket import Orphans, SecretSocket

SECRETS = {"control_secret": "s3cret", "redis_url": "unix://:pw@/x"}


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[SecretSocket]:
    folder = tmp_path / ("d" * 120)  # longer than a socket's name may be
    folder.mkdir()
    made = SecretSocket(folder / "up.sock", SECRETS)
    yield made
    made.close()
    assert not list(folder.iterdir())


async def ask(asked: SecretSocket, code: str, *words: str) -> str:
    """Return what a process prints that asks, while this one answers."""
    loop = asyncio.get_running_loop()
    loop.add_reader(asked, asked.answer)
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, str(asked._path), *words, stdout=subprocess.PIPE
        )
        return (await process.communicate())[0].decode()
    finally:
        loop.remove_reader(asked)


ASK = """
import sys
from pathlib import Path
from cordboard.contract.errors import SettingsError
from cordboard.settings.running import request_secrets
try:
    print(request_secrets(Path(sys.argv[1]))["control_secret"])
except SettingsError as error:
    print(error)
"""


async def test_what_is_below_us_is_told_nothing(asked: SecretSocket) -> None:
    """A process that we have started, as the parts and the bots are, hears that it may not know."""
    assert "did not give its secret" in await ask(asked, ASK)


async def test_others_of_this_user_are_told(
    asked: SecretSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is not below us hears the secrets."""
    monkeypatch.setattr("cordboard.up.secret_socket.is_descendant_of", lambda pid, ancestor: False)
    assert await ask(asked, ASK) == "s3cret\n"


def test_one_that_has_ended_meanwhile(asked: SecretSocket, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told nothing: its number may be another's, and what it held another's, too."""
    monkeypatch.setattr("cordboard.up.secret_socket.is_descendant_of", lambda pid, ancestor: False)
    sent: list[bytes] = []
    monkeypatch.setattr(socket.socket, "sendall", lambda _, data: sent.append(data))
    pid = os.fork()
    if not pid:
        leaving = socket.socket(socket.AF_UNIX)
        os.chdir(asked._path.parent)
        leaving.connect("up.sock")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    asked.answer()
    assert sent == []


def test_descent() -> None:
    """A process is below itself and its ancestors; one that has gone is taken to be below."""
    us, parent = os.getpid(), os.getppid()
    assert is_descendant_of(us, us)
    assert is_descendant_of(us, parent)
    assert not is_descendant_of(parent, us)
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert is_descendant_of(gone.pid, us)


def test_orphans_are_reaped() -> None:
    """What comes to us when its parent has ended leaves no zombie; what we have started is left."""
    pid = os.fork()
    if not pid:
        os._exit(0 if _reaps() else 1)  # in a process of its own: the tests adopt nothing
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _reaps() -> bool:
    adopt_orphans()
    orphans = Orphans()
    own = subprocess.Popen(["true"])
    script = "sleep 0.1 >&- & echo $!"  # its parent goes before it
    told = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    orphan = int(told.stdout)
    came = orphan in children_of(os.getpid())
    deadline = time.monotonic() + 20
    while orphan in children_of(os.getpid()) and time.monotonic() < deadline:
        orphans.reap({own.pid})
        time.sleep(0.02)
    return came and orphan not in children_of(os.getpid()) and own.wait() == 0


def test_no_secret_where_nothing_runs(tmp_path: Path) -> None:
    """Where no `up` answers, the error says what to do."""
    from cordboard.contract.errors import SettingsError

    with pytest.raises(SettingsError, match="did not give") as caught:
        request_secrets(tmp_path / "up.sock")
    assert "except bots" in caught.value.hint
