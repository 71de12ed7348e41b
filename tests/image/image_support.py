"""The images of deploy/Dockerfile, built by buildah and run by bubblewrap: no daemon, no registry.

IMAGE_BASE names a root file system of Debian as a tar, with Python in it; IMAGE_STORAGE may name a folder that
keeps built layers for the next run. Both programs need root here.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BUILD_PACKAGES = "gcc libc6-dev python3-dev python3-pip"
# What a build needs of this machine, to fetch packages as this machine does.
OF_THE_MACHINE = ("/etc/ssl/certs", "/etc/pip.conf")


def base() -> Path:
    """Return the root file system; skip the test where something is missing."""
    named = os.environ.get("IMAGE_BASE")
    if not named:
        pytest.skip("IMAGE_BASE names no root file system (docs/kubernetes.md#tests)")
    missing = [name for name in ("buildah", "bwrap") if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root, buildah and bubblewrap; missing: {missing}")
    return Path(named).resolve()


@dataclass(frozen=True)
class Storage:
    """Where buildah keeps images and containers.

    Attributes:
        folder: The folder.
    """

    folder: Path

    def buildah(self, *words: str) -> str:
        """Run buildah; return what it prints."""
        places = ("--root", str(self.folder / "root"), "--runroot", str(self.folder / "run"))
        done = subprocess.run(
            ["buildah", *places, *words],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=3600,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout.strip()

    def import_base(self, archive: Path) -> str:
        """Return the name of the image with a root file system, and nothing else."""
        status = archive.stat()
        name = f"localhost/base:{status.st_size}-{int(status.st_mtime)}"
        if name not in self.buildah("images", "--format", "{{.Name}}:{{.Tag}}").split():
            container = self.buildah("from", "scratch")
            self.buildah("add", "--quiet", container, str(archive), "/")
            self.buildah("commit", "--quiet", "--rm", container, name)
        return name

    def build(self, target: str, base_image: str) -> "Image":
        """Build a target of the Dockerfile."""
        mounts = [f"--volume={path}:{path}:ro" for path in OF_THE_MACHINE if Path(path).exists()]
        name = f"localhost/cordboard-{target}"
        self.buildah(
            *("build", "--isolation=chroot", "--layers", "--pull-never", *mounts),
            *(f"--build-arg=BASE_IMAGE={base_image}", f"--build-arg=BUILD_PACKAGES={BUILD_PACKAGES}"),
            *("-f", "deploy/Dockerfile", "--target", target, "-t", name, "."),
        )  # fmt: skip
        container = self.buildah("from", "--pull-never", name)
        return Image(self, name, container, Path(self.buildah("mount", container)))


@dataclass
class Images:
    """The images of both targets; each is built when a test first asks for it.

    Attributes:
        storage: Where they are.
        base: The root file system.
        built: Those that are built.
    """

    storage: Storage
    base: Path
    built: dict[str, "Image"] = field(default_factory=dict)

    def __getitem__(self, target: str) -> "Image":
        """Return the image of a target."""
        if target not in self.built:
            name = self.storage.import_base(self.base)
            self.built[target] = self.storage.build(target, name)
        return self.built[target]


@dataclass(frozen=True)
class Image:
    """A built image, unpacked.

    Attributes:
        storage: Where it is.
        name: Its name.
        container: The container of buildah that unpacks it.
        root: Its root file system.
    """

    storage: Storage
    name: str
    container: str
    root: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """What the image says about its process."""
        found = json.loads(self.storage.buildah("inspect", "--type", "image", self.name))
        config: dict[str, Any] = found["OCIv1"]["config"]
        return config

    @property
    def packages(self) -> Path:
        """The folder of its Python packages."""
        (found,) = self.root.glob("opt/cordboard/lib/python3.*/site-packages")
        return found

    def command(
        self,
        *arguments: str,
        variables: Mapping[str, str] | None = None,
        secrets: Path | None = None,
        user: str = "",
    ) -> list[str]:
        """Return a command that runs the image's entry point as Kubernetes does under this chart.

        The root file system is read-only, only /tmp can be written, and the process is the image's user, without
        any capability. It shares the network of this machine.

        Args:
            arguments: Those of the entry point; the entry point itself if they begin with an absolute path.
            variables: Further variables.
            secrets: A folder of this machine that it sees, read-only, as /run/secrets/cordboard.
            user: User and group that replace those of the image, as UID:GID.
        """
        user, _, group = (user or self.config["User"]).partition(":")
        environment = dict(item.split("=", 1) for item in self.config["Env"])
        entry = [] if arguments[:1] and arguments[0].startswith("/") else self.config["Entrypoint"]
        return [
            *("bwrap", "--ro-bind", str(self.root), "/", "--perms", "1777", "--tmpfs", "/tmp"),
            *("--proc", "/proc", "--dev", "/dev", "--perms", "0755", "--tmpfs", "/run"),
            *("--perms", "0755", "--dir", "/run/secrets"),
            *(("--ro-bind", str(secrets), "/run/secrets/cordboard") if secrets else ()),
            *("--remount-ro", "/run"),
            *("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent"),
            *("--cap-add", "ALL", "--clearenv", "--chdir", self.config["WorkingDir"]),
            *(
                word
                for name, value in {**environment, **(variables or {})}.items()
                for word in ("--setenv", name, value)
            ),
            *("setpriv", "--reuid", user, "--regid", group, "--clear-groups", "--no-new-privs"),
            *("--bounding-set=-all", "--inh-caps=-all"),
            *entry,
            *arguments,
        ]  # fmt: skip

    def run(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a command in the image to its end."""
        return subprocess.run(
            self.command(*arguments, **more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
