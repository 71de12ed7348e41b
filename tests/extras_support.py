"""Commands where some packages are missing."""

import subprocess
import sys
from pathlib import Path

# Python without some packages: whatever looks for one of them does not find it.
WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
from cordboard.cli import main
sys.exit(main({words!r}))
"""
KUBECONFIG = """
current-context: a
contexts: [{name: a, context: {cluster: a, user: a}}]
clusters: [{name: a, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: a, user: {}}]
"""


def run(
    tmp_path: Path, missing: set[str], *words: str, **over: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command where modules are missing."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT.format(missing=missing, words=list(words))],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **over},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
