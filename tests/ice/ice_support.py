"""coturn, and a caller in a network in which only a TURN server can be reached.

Three network namespaces: the caller's, the TURN server's between the two others, and the bot's, in which
`cordboard up` runs. Nothing forwards packets, so that caller and bot have no path but through the server.
HTTP, which reaches a public gateway in practice, takes a tunnel from the caller's loopback to the bot's.
"""

import asyncio
import contextlib
import ctypes
import functools
import itertools
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cordboard.contract.ice import IceTransportPolicy, ice_config, parse_ice_servers
from cordboard.up.ports import free_port
from tests_support import until
from up_support import Up

SECRET = "the-secret-of-the-turn-server"
TURN_ADDRESS = "10.203.1.1"  # as the caller reaches the server
RELAY_ADDRESS = "10.203.2.1"  # as the bot sees the relayed media
HIDDEN_ADDRESS = "10.203.3.1"  # an address of the server that neither caller nor bot can reach
_CLONE_NEWNET = 0x40000000
_NUMBERS = itertools.count()


def find_turnserver() -> str:
    """Return where coturn is; skip the test where there is none."""
    path = os.environ.get("TURNSERVER") or shutil.which("turnserver")
    if not path:
        pytest.skip("no coturn: set TURNSERVER, or install it (apt-get install coturn)")
    return path


@dataclass
class Turn:
    """A running coturn.

    Attributes:
        log: Its log.
        process: The process.
    """

    log: Path
    process: asyncio.subprocess.Process

    def relayed_bytes(self, session_id: str) -> int:
        """Return how many bytes it has relayed for a session whose relays are closed."""
        usage = rf"peer usage: realm=<.*>, username=<\d+:{re.escape(session_id)}>, rp=\d+, rb=(\d+), sp=\d+, sb=(\d+)"
        return sum(
            int(received) + int(sent) for received, sent in re.findall(usage, self.log.read_text())
        )

    async def stop(self) -> None:
        """Kill it: it ends all of its allocations, and frees its ports."""
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


@asynccontextmanager
async def turnserver(folder: Path, *words: str) -> AsyncIterator[Turn]:
    """Run coturn for a block.

    Args:
        folder: A directory for its files.
        words: Its arguments, besides those about its files.
    """
    log = folder / f"turn-{next(_NUMBERS)}.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            find_turnserver(), *words, "--verbose", "--simple-log", "--log-file=stdout",
            f"--pidfile={log}.pid", f"--userdb={log}.db",
            stdout=output, stderr=output, stdin=asyncio.subprocess.DEVNULL, cwd=folder,
        )  # fmt: skip
    turn = Turn(log, process)
    try:
        # TCP is first.
        opened = f"{'TCP' if '--no-udp' in words else 'UDP'} listener opened on"
        await until(lambda: opened in log.read_text(), 20)
        yield turn
    finally:
        await turn.stop()


def turn_words(address: str, port: int, secret: str = SECRET) -> list[str]:
    """Return arguments of coturn.

    Args:
        address: The address at which it listens.
        port: The port.
        secret: Its secret.
    """
    return [
        "-n", "--no-cli", "--no-dtls", "--use-auth-secret", f"--static-auth-secret={secret}", "--realm=turn.test",
        f"--listening-ip={address}", f"--listening-port={port}",
    ]  # fmt: skip


# --- namespaces


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Let this thread open sockets, and start processes, in a network namespace.

    Tasks that run while the block waits do so in the namespace as well.
    """
    with (
        Path("/proc/thread-self/ns/net").open("rb") as own,
        Path(f"/run/netns/{namespace}").open("rb") as other,
    ):
        _enter(other.fileno())
        try:
            yield
        finally:
            _enter(own.fileno())


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@dataclass
class Network:
    """The three namespaces.

    Attributes:
        caller: The namespace of the caller.
        turn: The namespace of the TURN server.
        bot: The namespace of everything else.
    """

    caller: str
    turn: str
    bot: str

    @asynccontextmanager
    async def turnserver(
        self,
        folder: Path,
        port: int,
        *words: str,
        secret: str = SECRET,
        relay: str = RELAY_ADDRESS,
    ) -> AsyncIterator[Turn]:
        """Run coturn between caller and bot for a block.

        Args:
            folder: A directory for its files.
            port: The port.
            words: Further arguments.
            secret: Its secret.
            relay: The address of its relays.
        """
        async with contextlib.AsyncExitStack() as stack:
            with inside(self.turn):
                server = turnserver(
                    folder, *turn_words(TURN_ADDRESS, port, secret), f"--relay-ip={relay}", *words
                )
                turn = await stack.enter_async_context(server)
            yield turn

    @contextmanager
    def link(self) -> Iterator[None]:
        """Connect caller and bot directly for a block."""
        _connect(self.caller, "10.203.4.2", self.bot, "10.203.4.1", "d")
        try:
            yield
        finally:
            _ip("-n", self.bot, "link", "delete", "vd1")

    def move_caller(self) -> None:
        """Give the caller another address on the direct link, as a change of networks does."""
        _ip("-n", self.caller, "address", "delete", "10.203.4.2/24", "dev", "vd0")
        _ip("-n", self.caller, "address", "add", "10.203.4.9/24", "dev", "vd0")

    @asynccontextmanager
    async def tunnel(self, *urls: str) -> AsyncIterator[None]:
        """Let the caller reach servers on the bot's loopback at the same address, for a block."""
        async with contextlib.AsyncExitStack() as stack:
            for url in urls:
                port = urlsplit(url).port
                with inside(self.caller):
                    listener = socket.create_server(("127.0.0.1", port or 0))
                server = await asyncio.start_server(
                    functools.partial(self._carry, port or 0),
                    sock=listener,
                )
                stack.callback(server.close)
            yield

    async def _carry(
        self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with inside(self.bot):
            upstream = socket.socket()
        upstream.setblocking(False)
        await asyncio.get_running_loop().sock_connect(upstream, ("127.0.0.1", port))
        there = await asyncio.open_connection(sock=upstream)
        await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))

    async def cordboard(self, up: Up, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of ours as the caller."""

        def run() -> "subprocess.CompletedProcess[str]":
            with inside(self.caller):
                return up.cordboard(*words)

        return await asyncio.to_thread(run)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextmanager
def network() -> Iterator[Network]:
    """Make the namespaces for a block; skip the test where that is not permitted."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("network namespaces need root, and ip of iproute2")
    made = Network(*(f"cordboard-{os.getpid()}-{name}" for name in ("caller", "turn", "bot")))
    names = (made.caller, made.turn, made.bot)
    try:
        for name in names:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", made.turn, "address", "add", f"{HIDDEN_ADDRESS}/32", "dev", "lo")
        _connect(made.caller, "10.203.1.2", made.turn, TURN_ADDRESS, "c")
        _connect(made.bot, "10.203.2.2", made.turn, RELAY_ADDRESS, "b")
        # The server is public: the bot reaches it at the same address.
        _ip("-n", made.bot, "route", "add", f"{TURN_ADDRESS}/32", "via", RELAY_ADDRESS)
    except subprocess.CalledProcessError as error:
        _remove(names)
        pytest.skip(f"network namespaces are not permitted here: {error.stderr.strip()}")
    try:
        yield made
    finally:
        _remove(names)


def _remove(names: tuple[str, ...]) -> None:
    for name in names:
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("netns", "delete", name)


def _connect(one: str, address: str, other: str, other_address: str, letter: str) -> None:
    """Connect two namespaces by a pair of interfaces."""
    _ip(
        "-n",
        one,
        "link",
        "add",
        f"v{letter}0",
        "type",
        "veth",
        "peer",
        "name",
        f"v{letter}1",
        "netns",
        other,
    )
    for namespace, own, end in ((one, address, 0), (other, other_address, 1)):
        _ip("-n", namespace, "address", "add", f"{own}/24", "dev", f"v{letter}{end}")
        # An IPv6 address that becomes valid a second later would be a change of networks, for which Chromium
        # aborts the requests of a page that it loads.
        _ip("-n", namespace, "link", "set", f"v{letter}{end}", "addrgenmode", "none")
        _ip("-n", namespace, "link", "set", f"v{letter}{end}", "up")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


# --- one server on loopback


@dataclass(frozen=True)
class LocalTurn:
    """A coturn on loopback, for tests that need no other network.

    Attributes:
        server: The process and its log.
        port: Its port for UDP and TCP.
        tls_port: Its port for TLS.
    """

    server: Turn
    port: int
    tls_port: int

    def config(
        self,
        *urls: str,
        secret: str = SECRET,
        policy: IceTransportPolicy = "all",
        valid_s: int = 60,
    ) -> dict[str, Any]:
        """Return the ICE servers of a session; `PORT` and `TLS` in the URLs are the server's ports."""
        texts = [
            url.replace("PORT", str(self.port)).replace("TLS", str(self.tls_port)) for url in urls
        ]
        servers = parse_ice_servers(texts)
        expires_at = int(time.time()) + valid_s
        made = ice_config(servers, "call:7", expires_at=expires_at, secret=secret, policy=policy)
        assert made
        return made


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key, and a certificate for 127.0.0.1 that no authority has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "turn")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(
            name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1)
        )
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("certificate") / "turn.pem"
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(encoding) + private)
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def turn(
    tmp_path_factory: pytest.TempPathFactory, certificate: Path
) -> AsyncIterator[LocalTurn]:
    """A TURN server on loopback, over UDP, TCP and TLS."""
    port, tls_port = free_port(), free_port()
    words: tuple[str, ...] = (
        "--relay-ip=127.0.0.1", f"--tls-listening-port={tls_port}", f"--cert={certificate}", f"--pkey={certificate}",
    )  # fmt: skip
    words += tuple(turn_words("127.0.0.1", port))
    async with turnserver(tmp_path_factory.mktemp("turn"), *words) as server:
        yield LocalTurn(server, port, tls_port)
