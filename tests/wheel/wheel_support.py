"""Builds the package and installs it into virtual environments outside the checkout, without the network."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
NOT_BUILT = shutil.ignore_patterns(
    ".*", "__pycache__", "*.so", "node_modules", "benchmarks", "build", "dist", "docs", "site", "tests"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Built:
    """A source distribution and two wheels that were built from it.

    Attributes:
        source: The unpacked source distribution.
        wheel: The wheel with the compiled modules of `logs`.
        pure_wheel: The wheel that was built where there is no compiler.
    """

    source: Path
    wheel: Path
    pure_wheel: Path


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment into which a wheel was installed.

    Attributes:
        folder: The environment.
        home: The directory in which its commands run; it is their HOME as well.
    """

    folder: Path
    home: Path

    @property
    def packages(self) -> Path:
        """The environment's site-packages."""
        return next(self.folder.glob("lib/python*/site-packages"))

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment with nothing of this process's settings."""
        return subprocess.run(
            [self.folder / "bin" / program, *arguments],
            cwd=self.home,
            env={"PATH": f"{self.folder / 'bin'}:/usr/bin:/bin", "HOME": str(self.home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def build(folder: Path) -> Built:
    """Build a source distribution from a copy of the checkout, and the wheels from that."""
    checkout = folder / "checkout"
    shutil.copytree(ROOT, checkout, ignore=NOT_BUILT)
    shutil.copy(ROOT / ".gitignore", checkout)
    archive = _hatchling(checkout, "sdist", folder / "sdist")
    with tarfile.open(archive) as file:
        file.extractall(folder / "unpacked", filter="data")
    (source,) = (folder / "unpacked").iterdir()
    pure = _hatchling(source, "wheel", folder / "pure", PATH=str(folder), CC="")
    return Built(source, _hatchling(source, "wheel", folder / "wheel"), pure)


def _hatchling(source: Path, target: str, folder: Path, **variables: str) -> Path:
    # Not by pip: hatchling is installed here already, in its locked version.
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", folder],
        cwd=source,
        env={**os.environ, **variables},
        check=True,
        capture_output=True,
        timeout=120,
    )
    (made,) = folder.iterdir()
    return made


def install(wheel: Path, folder: Path, *, with_development_packages: bool = False) -> Environment:
    """Install a wheel into a new environment.

    Args:
        wheel: What is installed.
        folder: Where the environment is made.
        with_development_packages: Whether it sees all packages of this environment, or only the
            base dependencies, which are copied into it.
    """
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    (folder / "home").mkdir()
    environment = Environment(folder / "venv", folder / "home")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", environment.folder / "bin" / "python"),
            *("install", "--no-index", "--no-deps", "--quiet", wheel),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    if with_development_packages:
        # A plain path, not a site directory: the .pth file of the editable installation has no effect.
        line = sysconfig.get_path("purelib") + "\n"
        (environment.packages / "development.pth").write_text(line)
    else:
        for name in _with_their_own(base_dependencies(wheel)):
            _copy_distribution(name, environment.packages)
    return environment


def base_dependencies(wheel: Path) -> list[str]:
    """Return the names of the packages that `pip install cordboard` brings on this Python."""
    with zipfile.ZipFile(wheel) as file:
        (metadata,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        lines = file.read(metadata).decode().splitlines()
    prefix = "Requires-Dist: "
    return _needed(line.removeprefix(prefix) for line in lines if line.startswith(prefix))


def _needed(requirements: Iterable[str]) -> list[str]:
    """Return the names of the requirements that apply on this Python, without extras."""
    parsed = map(Requirement, requirements)
    return [r.name for r in parsed if r.marker is None or r.marker.evaluate({"extra": ""})]


def _with_their_own(names: Iterable[str]) -> set[str]:
    """Return distributions, and those that they need."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        found.add(name := waiting.pop())
        needed = _needed(importlib.metadata.requires(name) or ())
        waiting += [other for other in needed if other not in found]
    return found


def _copy_distribution(name: str, target: Path) -> None:
    distribution = importlib.metadata.distribution(name)
    for file in distribution.files or ():
        if ".." not in file.parts and "__pycache__" not in file.parts:
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(distribution.locate_file(file)), target / file)
