"""`cordboard doctor --env` in the images: each makes the checks whose packages it has, and fails for none of the others."""

import re
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from cordboard.contract.extras import MODULES
from extras_support import KUBECONFIG, run
from logs.logs_support import encoded, record

ROOT = Path(__file__).parents[2]
ICE = 'ice_servers = ["stun:127.0.0.1:9"]\n'
SOURCES = """
[[environments.prod]]
type = "kubernetes"
[[environments.prod]]
type = "directory"
path = "logs"
"""


def _write_log(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "gateway.jsonl").write_bytes(encoded(record(0)) + b"\n")


def absent_from(image: str) -> set[str]:
    """Return the modules that the checks use, and that an image does not have."""
    locked = (ROOT / "requirements" / f"{image}.txt").read_text()
    there = set(re.findall(r"^([\w.-]+)==", locked, re.MULTILINE))
    modules = {"aioice"}.union(*MODULES.values())
    of = packages_distributions()

    def is_there(module: str) -> bool:
        return any(re.sub(r"[-_.]+", "-", name).lower() in there for name in of.get(module, []))

    return {module for module in modules if not is_there(module)}


def test_each_image_lacks_the_packages_of_one_check() -> None:
    """Otherwise the tests below show nothing."""
    assert {"aioice", "aiortc", "pipecat"} <= absent_from("plane")
    assert "lightkube" not in absent_from("plane")
    assert "lightkube" in absent_from("bots")
    assert not {"aioice", "aiortc", "pipecat"} & absent_from("bots")


def test_image_of_the_plane_does_not_check_ice_servers(tmp_path: Path) -> None:
    """There are no log files in a pod, no cluster is set here, and nothing in the image speaks STUN."""
    (tmp_path / "cordboard.toml").write_text(ICE)
    done = run(tmp_path, absent_from("plane"), "doctor", "--env", "local")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert re.search(
        r"^ok    ice servers +not checked here: Checking STUN and TURN servers needs \w+, which is not",
        done.stdout,
        re.MULTILINE,
    )
    assert "pip install 'cordboard[bots]', or run this in the other image" in done.stdout


@pytest.mark.parametrize(
    "settings", [SOURCES, "kubernetes_pod_marks = true\n"], ids=["source", "operator"]
)
def test_image_of_the_bots_does_not_check_clusters(tmp_path: Path, settings: str) -> None:
    """Neither as a source of logs nor as that of the operator; the STUN server is asked."""
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    _write_log(tmp_path)
    (tmp_path / "cordboard.toml").write_text(ICE + settings)
    environment = "prod" if settings is SOURCES else "local"
    done = run(
        tmp_path,
        absent_from("bots"),
        *("doctor", "--env", environment),
        KUBECONFIG=str(tmp_path / "kubeconfig"),
    )
    assert not done.stderr
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert [line[6:20].strip() for line in failed] == ["stun"], done.stdout
    assert re.search(
        r"^ok    cluster +not checked here: Checking a cluster needs lightkube",
        done.stdout,
        re.MULTILINE,
    )
    assert "pip install 'cordboard[kubernetes]', or run this in the other image" in done.stdout


def test_source_without_its_packages_keeps_no_other_from_its_check(tmp_path: Path) -> None:
    """The folder of the same environment is read."""
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    _write_log(tmp_path)
    (tmp_path / "cordboard.toml").write_text(SOURCES)
    done = run(
        tmp_path,
        absent_from("bots"),
        *("doctor", "--env", "prod"),
        KUBECONFIG=str(tmp_path / "kubeconfig"),
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"^ok    kubernetes +not checked here: ", done.stdout, re.MULTILINE)
    assert re.search(r"^ok    .*logs +answers; no lines", done.stdout, re.MULTILINE)


def test_invalid_settings_still_fail(tmp_path: Path) -> None:
    """Only absent packages are excused."""
    (tmp_path / "cordboard.toml").write_text(ICE)
    done = run(tmp_path, absent_from("plane"), "doctor", "--env", "prod")
    assert done.returncode == 1
    assert re.search(r"^FAIL  environment +Unknown environment 'prod'", done.stdout, re.MULTILINE)
