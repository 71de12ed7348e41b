"""The images: built from the clone, and run as Kubernetes runs them, without root and on a read-only file system.

mmdebstrap --variant=minbase --include=python3,ca-certificates bookworm base.tar
IMAGE_BASE=base.tar make test ARGS="-m image"
"""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from chart.chart_support import tool
from cordboard.up.ports import free_port
from image.image_support import ROOT, Images, Storage, base
from plane_support import HEADERS, SECRET, STOP_S, own_database
from tests_support import until

MB = 1 << 20
DOCS = (ROOT / "docs" / "kubernetes.md").read_text()
image = [pytest.mark.image, pytest.mark.timeout(3600)]


def test_dockerfile_is_clean() -> None:
    """Hadolint has nothing to say."""
    done = subprocess.run(
        [tool("hadolint"), "deploy/Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    """Both images, built and unpacked."""
    archive = base()
    kept = os.environ.get("IMAGE_STORAGE")
    found = Images(Storage(Path(kept) if kept else tmp_path_factory.mktemp("images")), archive)
    yield found
    for item in found.built.values():
        found.storage.buildah("rm", item.container)
    if not kept:
        found.storage.buildah("rmi", "--all", "--force")


@pytest.mark.parametrize("target", ["plane", "bots"])
class TestImage:
    """What holds for both images."""

    pytestmark = image

    def test_process_is_not_root(self, images: Images, target: str) -> None:
        """The user has a number, so that `runAsNonRoot` accepts it, and the entry point is the command."""
        config = images[target].config
        assert config["User"] == "10001:10001"
        assert config["Entrypoint"] == ["cordboard"]
        done = images[target].run("/usr/bin/id", "-u")
        assert done.stdout.strip() == "10001"

    def test_any_other_user_can_run_it(self, images: Images, target: str) -> None:
        """OpenShift gives each namespace a user of its own, of the group root, whom no image knows."""
        done = images[target].run("--version", user="1000680000:0")
        assert (done.returncode, done.stdout.split()[:1]) == (0, ["cordboard"]), done.stderr

    def test_only_tmp_can_be_written(self, images: Images, target: str) -> None:
        """Nothing else, not even the folder of the process."""
        found = images[target]
        script = "cd /tmp && touch x && for f in / /app /opt/cordboard /run /etc /var/tmp; do touch $f/x && echo $f; done"
        assert found.run("/bin/sh", "-c", script).stdout == ""
        assert found.run("/bin/sh", "-c", "cd /tmp && touch x").returncode == 0

    def test_everything_is_compiled(self, images: Images, target: str) -> None:
        """Each module has byte code that is newer than none of its sources, and the native part is there."""
        package = images[target].packages / "cordboard"
        sources = [*package.rglob("*.py")]
        assert len(sources) > 200
        assert [path for path in sources if not is_compiled(path)] == []
        assert (package / "logs" / "_native.abi3.so").exists()

    def test_size_is_that_of_the_page(self, images: Images, target: str) -> None:
        """The page states what an image adds to its base, with a tenth to spare."""
        (stated,) = re.findall(rf"^\| `{target}` \|.*\| (\d+) MB \|$", DOCS, re.MULTILINE)
        folder = images[target].root / "opt" / "cordboard"
        size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / MB
        sys.stderr.write(f"{target}: {size:.0f} MB\n")
        assert size == pytest.approx(int(stated), rel=0.1)

    def test_no_tool_of_the_build_is_left(self, images: Images, target: str) -> None:
        """No compiler and no pip, which somebody who breaks in could use."""
        root = images[target].root
        names = ("usr/bin/gcc", "opt/cordboard/bin/pip", "opt/tools", "build", "wheel")
        assert [name for name in names if (root / name).exists()] == []


def is_compiled(path: Path) -> bool:
    """Return whether Python uses the byte code of a source (PEP 552)."""
    for code in (path.parent / "__pycache__").glob(f"{path.stem}.cpython-*.pyc"):
        head = code.read_bytes()[:16]
        stated = int.from_bytes(head[8:12], "little"), int.from_bytes(head[12:16], "little")
        status = path.stat()
        return stated == (int(status.st_mtime), status.st_size)
    return False


def start(
    images: Images,
    name: str,
    port: int,
    variables: dict[str, str],
    secrets: Path,
    folder: Path,
) -> "subprocess.Popen[bytes]":
    """Start a component in its image; its lines go to a file."""
    found = images["bots" if name == "runner" else "plane"]
    words = [name, "--port", str(port), *(("--launcher", "none") if name == "operator" else ())]
    command = found.command(*words, variables=variables, secrets=secrets)
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def printed(folder: Path) -> list[str]:
    """Return the last lines of each component."""
    return [path.read_text()[-1000:] for path in folder.glob("*.log")]


@pytest.fixture
async def plane(images: Images, redis_url: str, tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """All components, each in its image, with its secrets as files; their addresses."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    values = {"REDIS_URL": own_database(redis_url), "BOT_CONTROL_SHARED_SECRET": SECRET,
              "CORDBOARD_SESSION_SECRET": SECRET[::-1]}  # fmt: skip
    files = {f"{name}_FILE": f"/run/secrets/cordboard/{name}" for name in values}
    for name, value in values.items():
        (secrets / name).write_text(value)
    for path in (secrets, *(secrets / name for name in values)):
        os.chown(path, 10001, 10001)  # as `fsGroup` does
    ports = {name: free_port() for name in ("gateway", "operator", "runner", "interface", "edge")}
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    shared = {**files, "CORDBOARD_GATEWAY_URL": urls["gateway"], "CORDBOARD_OVERLOAD_LAG_MS": "0"}
    processes = [
        start(images, name, port, shared, secrets, tmp_path) for name, port in ports.items()
    ]
    async with aiohttp.ClientSession(headers=HEADERS) as client:

        async def answers() -> bool:
            assert all(item.poll() is None for item in processes), printed(tmp_path)
            statuses = []
            for url in urls.values():
                with contextlib.suppress(aiohttp.ClientError):
                    async with client.get(f"{url}/readyz") as answer:
                        statuses.append(answer.status)
            return statuses == [200] * len(urls)

        await until(answers, 120)
    yield urls
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        try:
            process.wait(STOP_S)
        finally:
            process.kill()


class TestPlane:
    """The components in their images."""

    pytestmark = image

    async def test_bot_answers_a_call(self, plane: dict[str, str], tmp_path: Path) -> None:
        """A call through the components reaches the bot, which is heard: nothing needed another place to write."""
        done = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cordboard", "call", "webrtc:demo", "--seconds", "3"),
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "CORDBOARD_GATEWAY_URL": plane["gateway"],
                "BOT_CONTROL_SHARED_SECRET": SECRET,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        printed, _ = await asyncio.wait_for(done.communicate(), 120)
        assert done.returncode == 0, printed.decode()
