"""Which tests may run at the same time. Tests mostly wait, so three workers take a third of the time of one.

A test runs on any worker unless it shares something with others: a module-scoped fixture (its module stays
together), the one cluster whose nodes and API are made to fail, or a browser, because a second browser would
take the processor from the first one's call.
"""

from pathlib import Path
from typing import Any, Final

from xdist.scheduler import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
    LoadScopeScheduling,
)

ROOT: Final = Path(__file__).parents[1]
TOGETHER: Final = {
    "tests/browser/": "browser",
    "tests/chart/test_chart_cluster.py": "cluster",
    "tests/clients/": "browser",
    "tests/e2e/test_e2e_browser.py": "browser",
    "tests/ice/test_ice_calls.py": "browser",
    "tests/kube/": "cluster",
    "tests/launchers/": "cluster",
    "tests/logs/test_logs_kubernetes.py": "cluster",
    "tests/scaling/": "cluster",
}
SHARES: Final = 'scope="module"'


class ByWhatIsShared(LoadScopeScheduling):  # type: ignore[misc,unused-ignore]  # it ships without types
    """Distributes single tests, and tests that share something as one group; large groups first."""

    def __init__(self, config: Any, log: Any = None) -> None:
        super().__init__(config, log)
        self._modules: dict[str, bool] = {}

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        for start, lot in TOGETHER.items():
            if file.startswith(start):
                return lot
        if file not in self._modules:
            self._modules[file] = SHARES in (ROOT / file).read_text(encoding="utf-8")
        return file if self._modules[file] else nodeid
