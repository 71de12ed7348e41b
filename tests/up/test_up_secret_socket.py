"""Which processes get the secrets of `up`."""

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
def secret_socket(tmp_path: Path) -> Iterator[SecretSocket]:
    folder = tmp_path / ("d" * 120)  # longer than a socket's name may be
    folder.mkdir()
    opened = SecretSocket(folder / "up.sock", SECRETS)
    yield opened
    opened.close()
    assert not list(folder.iterdir())


async def ask(secret_socket: SecretSocket, code: str, *words: str) -> str:
    """Run a process that requests the secrets; return what it prints."""
    loop = asyncio.get_running_loop()
    loop.add_reader(secret_socket, secret_socket.answer)
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, str(secret_socket.path), *words, stdout=subprocess.PIPE
        )
        return (await process.communicate())[0].decode()
    finally:
        loop.remove_reader(secret_socket)


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


async def test_descendants_get_no_secrets(secret_socket: SecretSocket) -> None:
    """A process that we have started, like components and bots, gets an error."""
    assert "did not give its secret" in await ask(secret_socket, ASK)


async def test_other_processes_of_this_user_get_the_secrets(
    secret_socket: SecretSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is not our descendant gets them."""
    monkeypatch.setattr("cordboard.up.secret_socket.is_descendant_of", lambda pid, ancestor: False)
    assert await ask(secret_socket, ASK) == "s3cret\n"


def test_process_that_has_ended_gets_no_secrets(
    secret_socket: SecretSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its id may belong to another process by then, and so may its end of the socket."""
    monkeypatch.setattr("cordboard.up.secret_socket.is_descendant_of", lambda pid, ancestor: False)
    sent: list[bytes] = []
    monkeypatch.setattr(socket.socket, "sendall", lambda _, data: sent.append(data))
    pid = os.fork()
    if not pid:
        leaving = socket.socket(socket.AF_UNIX)
        os.chdir(secret_socket.path.parent)
        leaving.connect("up.sock")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    secret_socket.answer()
    assert sent == []


def test_descendants_include_the_process_itself() -> None:
    """A process that has ended counts as a descendant of any."""
    us, parent = os.getpid(), os.getppid()
    assert is_descendant_of(us, us)
    assert is_descendant_of(us, parent)
    assert not is_descendant_of(parent, us)
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert is_descendant_of(gone.pid, us)


def test_adopted_orphans_are_reaped() -> None:
    """They leave no zombies; processes that we have started are left alone."""
    pid = os.fork()
    if not pid:
        os._exit(0 if _reaps() else 1)  # in a process of its own: the tests adopt nothing
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _reaps() -> bool:
    adopt_orphans()
    orphans = Orphans()
    own = subprocess.Popen(["true"])
    script = "sleep 0.1 >&- & echo $!"  # its parent goes before it
    shell = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    orphan = int(shell.stdout)
    came = orphan in children_of(os.getpid())
    deadline = time.monotonic() + 20
    while orphan in children_of(os.getpid()) and time.monotonic() < deadline:
        orphans.reap({own.pid})
        time.sleep(0.02)
    return came and orphan not in children_of(os.getpid()) and own.wait() == 0


def test_request_without_a_running_up_has_a_hint(tmp_path: Path) -> None:
    """If no `up` answers, the error says what to do."""
    from cordboard.contract.errors import SettingsError

    with pytest.raises(SettingsError, match="did not give") as caught:
        request_secrets(tmp_path / "up.sock")
    assert "except bots" in caught.value.hint
