"""Redis over TLS: one server, Sentinel and a cluster, with checked certificates."""

import contextlib
import ipaddress
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cordboard.contract.errors import SettingsError, StoreUnavailableError
from cordboard.contract.launch import Launch
from cordboard.store import open_store
from cordboard.up.ports import free_port
from redis_support import SLOTS, cluster_port, wait_for
from server_support import name_of, programs, serving

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Certificates:
    """An authority, and a certificate of it for 127.0.0.1."""

    authority: Path
    certificate: Path
    key: Path

    @property
    def arguments(self) -> list[str]:
        """What a server takes."""
        return [
            *("--tls-cert-file", str(self.certificate), "--tls-key-file", str(self.key)),
            *("--tls-ca-cert-file", str(self.authority), "--tls-auth-clients", "no"),
            *("--tls-replication", "yes", "--tls-cluster", "yes"),
        ]

    def client(self, port: int) -> Any:
        return redis.Redis(
            HOST,
            port,
            ssl=True,
            ssl_ca_certs=str(self.authority),
            ssl_certfile=str(self.certificate),
            ssl_keyfile=str(self.key),
            decode_responses=True,
        )


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    directory = tmp_path_factory.mktemp("tls")
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _issue("authority of the tests", authority_key, authority_key, None)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _issue(HOST, key, authority_key, authority)
    found = Certificates(directory / "ca.pem", directory / "server.pem", directory / "server.key")
    found.authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    found.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    found.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return found


def _issue(
    name: str, key: Any, signing: Any, authority: x509.Certificate | None
) -> x509.Certificate:
    named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(authority.subject if authority else named)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
    )
    if authority is not None:
        address = x509.IPAddress(ipaddress.ip_address(HOST))
        names = x509.SubjectAlternativeName([address])
        made = made.add_extension(names, critical=False)
    return made.sign(signing, hashes.SHA256())


@pytest.fixture(scope="module", params=programs(), ids=name_of)
def program(request: pytest.FixtureRequest, certificates: Certificates) -> str:
    """A server; the test is skipped, and says so, where it was built without TLS."""
    words = [request.param, "--port", "0", "--tls-port", str(free_port()), *certificates.arguments]
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(words, capture_output=True, timeout=1, check=False)
        said = done.stdout.decode().strip().rpartition("# ")[2]
        pytest.skip(f"{name_of(request.param)} has no TLS: {said}")
    return str(request.param)


@contextlib.contextmanager
def secure(
    program: str, certificates: Certificates, *more: str, port: int | None = None
) -> Iterator[int]:
    """Run a server that answers by TLS alone; yield its port."""
    port = port or free_port()
    words = ["--port", "0", "--tls-port", str(port), *certificates.arguments, *more]
    with serving(program, *words, probes=False), certificates.client(port) as client:
        wait_for(lambda: _answers(client))
        yield port


def _answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


async def works(url: str, shards: int = 1) -> None:
    """Let a session be accepted, told of, and ended."""
    async with open_store(url, shards=shards) as store:
        await store.check_writable()
        launch = Launch("call-7", "webrtc:demo", epoch=1)
        accepted = await store.accept(launch, queue_max=9)
        for shard in store.shards:
            async with shard.changes():
                pass
        assert await store.finish("call-7", accepted.epoch, "left")


async def test_server_with_a_private_authority(program: str, certificates: Certificates) -> None:
    """``rediss://`` with a private certificate authority; without it the certificate is refused."""
    with secure(program, certificates) as port:
        await works(f"rediss://{HOST}:{port}/0?ssl_ca_certs={certificates.authority}")
        with pytest.raises(StoreUnavailableError, match="certificate"):
            await works(f"rediss://{HOST}:{port}/0")


async def test_client_certificate(program: str, certificates: Certificates) -> None:
    """If the server requires a client certificate, the URL names it."""
    with secure(program, certificates, "--tls-auth-clients", "yes") as port:
        url = f"rediss://{HOST}:{port}/0?ssl_ca_certs={certificates.authority}"
        own = f"&ssl_certfile={certificates.certificate}&ssl_keyfile={certificates.key}"
        await works(url + own)
        with pytest.raises(StoreUnavailableError):
            await works(url)


async def test_cluster(program: str, certificates: Certificates) -> None:
    """``rediss+cluster://``: scripts, and the subscription to changes, which has a separate connection."""
    with secure(program, certificates, "--cluster-enabled", "yes", port=cluster_port()) as port:
        with certificates.client(port) as client:
            client.execute_command("CLUSTER ADDSLOTS", *range(SLOTS))
            wait_for(lambda: "cluster_state:ok" in _cluster_info(client))
        url = f"rediss+cluster://{HOST}:{port}?ssl_ca_certs={certificates.authority}"
        await works(url, shards=3)
        with pytest.raises(StoreUnavailableError):
            await works(f"rediss+cluster://{HOST}:{port}")


def _cluster_info(client: Any) -> str:
    info = client.execute_command("CLUSTER INFO")
    return info if isinstance(info, str) else "\n".join(f"{k}:{v}" for k, v in info.items())


@contextlib.contextmanager
def sentinel(
    program: str, certificates: Certificates, master: int, directory: Path
) -> Iterator[int]:
    """Run a sentinel that answers by TLS alone; yield its port."""
    port = free_port()
    words = certificates.arguments
    tls = zip(words[::2], words[1::2], strict=True)
    lines = [f"{name[2:]} {value}" for name, value in tls if name != "--tls-cluster"]
    lines += ["port 0", f"tls-port {port}", f"dir {directory}"]
    file = directory / "sentinel.conf"
    file.write_text("\n".join([*lines, f"sentinel monitor main {HOST} {master} 1", ""]))
    process = subprocess.Popen([program, str(file), "--sentinel"], stdout=subprocess.DEVNULL)
    try:
        with certificates.client(port) as client:
            wait_for(lambda: _answers(client))
        yield port
    finally:
        process.kill()
        process.wait()


async def test_sentinel(program: str, certificates: Certificates, tmp_path: Path) -> None:
    """``rediss+sentinel://``: Sentinels and servers alike."""
    with (
        secure(program, certificates) as master,
        sentinel(program, certificates, master, tmp_path) as watcher,
    ):
        url = f"rediss+sentinel://{HOST}:{watcher}/main/0"
        await works(f"{url}?ssl_ca_certs={certificates.authority}")
        with pytest.raises(StoreUnavailableError):
            await works(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://a:1?ssl_ca_certs=x",
        "rediss+cluster://a:1?password=hunter2",
        "rediss+sentinel://a:1/main?ssl_check_hostname=maybe",
        "rediss+sentinel://a:1/main?ssl_cert_reqs=perhaps",
    ],
)
def test_unknown_option_is_refused(url: str) -> None:
    """An option that is unknown, or has no use there, is refused and not ignored."""
    with pytest.raises(SettingsError, match="option") as raised:
        open_store(url)
    assert "hunter2" not in str(raised.value)


def test_certificate_checks_can_be_switched_off() -> None:
    """By default the certificate and the host name are checked; either check can be switched off."""
    from cordboard.store.redis_url import _parts, _tls

    assert _tls(_parts("rediss+cluster://a:1")) == {"ssl": True}
    off = _tls(_parts("rediss+cluster://a:1?ssl_check_hostname=false&ssl_cert_reqs=none"))
    assert off == {"ssl": True, "ssl_check_hostname": False, "ssl_cert_reqs": "none"}
