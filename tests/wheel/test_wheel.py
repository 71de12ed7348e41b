"""The package as users install it: its contents, and its commands outside the checkout."""

import json
import os
import signal
import sys
import zipfile
from pathlib import Path

import pytest

import cordboard
from cordboard.cli import EXTRAS
from up_support import ready
from wheel.wheel_support import ROOT, Built, Environment, base_dependencies, build, install

pytestmark = [pytest.mark.wheel, pytest.mark.timeout(150)]
COMPILED = {"cordboard/logs/_native.abi3.so"}
BASE_MB = 10
LINE = {
    "timestamp": "2026-11-23T10:00:00.000000Z", "level": "info", "message": "Join accepted",
    "service": "gateway", "tag": "http", "sessionId": "call-7", "boot": "12345678", "seq": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The package, built once."""
    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module", params=["wheel", "pure_wheel"])
def environment(
    built: Built, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Environment:
    """An environment with the base dependencies only, with and without the compiled modules."""
    return install(getattr(built, request.param), tmp_path_factory.mktemp("base"))


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as file:
        return set(file.namelist())


def package_files() -> set[str]:
    """Return the files of the package in the checkout, except what is made from them."""
    package = ROOT / "src" / "cordboard"
    return {
        f"cordboard/{path.relative_to(package)}"
        # Not rglob: static/client is a link, which it does not follow.
        for folder, _, names in os.walk(package, followlinks=True)
        for path in map(Path(folder).joinpath, names)
        if "__pycache__" not in path.parts and path.suffix not in {".so", ".pyc"}
    }


def test_wheel_has_every_file_of_the_package_and_no_other(built: Built) -> None:
    """Scripts, templates, static files, C sources and py.typed come along; tests do not."""
    files = {name for name in contents(built.wheel) if ".dist-info/" not in name}
    assert files == package_files() | COMPILED
    assert {Path(name).suffix for name in files} >= {".c", ".css", ".html", ".js", ".lua", ".typed"}


def test_wheel_names_its_license_and_entry_points(built: Built) -> None:
    """The command and the pytest plugin are declared, the license is included."""
    about = f"cordboard-{cordboard.__version__}.dist-info"
    with zipfile.ZipFile(built.wheel) as file:
        assert f"{about}/licenses/LICENSE" in file.namelist()
        assert (
            "cordboard = cordboard.cli:console" in file.read(f"{about}/entry_points.txt").decode()
        )


def test_wheel_without_compiler_is_pure(built: Built) -> None:
    """It has the same files except the compiled modules, and fits any machine."""
    assert "-cp311-abi3-" in built.wheel.name
    assert built.pure_wheel.name.endswith("-py3-none-any.whl")
    assert contents(built.wheel) >= COMPILED
    assert not contents(built.pure_wheel) & COMPILED


def test_source_distribution_has_what_the_build_needs(built: Built) -> None:
    """The wheels above were built from it; nothing that was installed or made is in it."""
    names = {path.name for path in built.source.iterdir()}
    assert names >= {"LICENSE", "README.md", "hatch_build.py", "pyproject.toml", "src"}
    assert not names & {".venv", ".make", "node_modules", "dist"}


def test_base_installation_is_small(built: Built, environment: Environment) -> None:
    """Logging library and `cordboard logs` need less than 10 MB, dependencies included."""
    assert len(base_dependencies(built.wheel)) == (5 if sys.version_info < (3, 14) else 4)
    size = sum(
        path.stat().st_size
        for path in environment.packages.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )
    assert size < BASE_MB * 1e6


def test_version_is_that_of_the_package(environment: Environment) -> None:
    """`cordboard --version` works where nothing but the wheel is installed."""
    done = environment.run("cordboard", "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert cordboard.__version__ in done.stdout


def test_logs_reads_a_folder(environment: Environment) -> None:
    """`cordboard logs` finds a session's lines and writes its report, with and without the compiled modules."""
    folder = environment.home / "lines"
    folder.mkdir()
    (folder / "gateway.jsonl").write_text(json.dumps(LINE) + "\n")
    words = ("logs", "--dir", str(folder), "--session", "call-7", "-o", "json")
    done = environment.run("cordboard", *words, "--report", "call.html")
    assert "Join accepted" in (environment.home / "call.html").read_text()
    assert [json.loads(line)["message"] for line in done.stdout.splitlines()] == ["Join accepted"]


def test_logging_library_writes_lines(environment: Environment) -> None:
    """A program that only logs needs no extra."""
    code = (
        "import cordboard; cordboard.configure('mine'); log = cordboard.get_logger('part')\n"
        "with cordboard.session_context(session_id='call-7'): log.info('Hello')"
    )
    done = environment.run("python", "-c", code)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(r["service"], r["tag"], r["sessionId"], r["message"]) for r in records] == [
        ("mine", "part", "call-7", "Hello")
    ]


@pytest.mark.parametrize("command", EXTRAS)
def test_command_without_its_extra_names_it(environment: Environment, command: str) -> None:
    """A command that needs more than the base installation says what to install."""
    arguments = ["webrtc:demo"] if command == "call" else []
    done = environment.run("cordboard", command, *arguments)
    assert done.returncode == 1
    assert f"pip install 'cordboard[{EXTRAS[command]}]'" in done.stderr


@pytest.mark.media
async def test_up_works_outside_a_checkout(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the wheel, `up` gets ready, its bot takes a call, and Ctrl-C stops it."""
    environment = install(built.wheel, tmp_path, with_development_packages=True)
    monkeypatch.chdir(environment.home)
    monkeypatch.setattr(sys, "executable", str(environment.folder / "bin" / "python"))
    place = environment.run("python", "-c", "import cordboard; print(cordboard.__file__)").stdout
    assert place.startswith(str(environment.folder))
    async with ready(environment.home) as up:
        done = up.cordboard("call", "webrtc:demo", "--session", "call-7", "--seconds", "2")
        assert done.returncode == 0, done.stderr
        assert await up.stop(signal.SIGINT) == 0
