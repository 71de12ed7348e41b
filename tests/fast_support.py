"""Which tests are fast: the marker `fast` is set by what a test uses, so that nobody has to keep a list.

`make test ARGS="-m fast"` runs them, in less than a minute on two cores: codecs, grammars, state tables, plans,
formats, pages. A test is fast unless something that it uses starts a process, a server or a browser, or waits.
"""

import re
from functools import cache
from pathlib import Path
from typing import Final

# A fixture of these names starts something, or is built on one that does.
STARTING_FIXTURES: Final = frozenset(
    {
        "acting",
        "cluster",
        "gateway",
        "plane",
        "redis_url",
        "server",
        "site",
        "stand_in",
        "store",
        "up",
    }
)
# A module with one of these words starts something, or waits for time to pass.
STARTING_WORDS: Final = re.compile(
    r"\b(EmbeddedServer|Processes|Server|Terminal|asyncio\.sleep|connect|os\.fork|ready|served|start_server|started"
    r"|time\.sleep|until|urlopen)\("
    r"|\b(chromium|create_subprocess_exec|multiprocessing|playwright|pytester|subprocess)\b"
)
# Folders in which every test starts something: they are not even imported for `-m fast`.
SLOW_FOLDERS: Final = frozenset(
    {
        "browser",
        "e2e",
        "faults",
        "ice",
        "javascript",
        "kube",
        "launchers",
        "runner",
        "scaling",
        "terminal",
        "wheel",
    }
)
# Modules that start processes by way of other modules, or compute for long.
SLOW_MODULES: Final = frozenset(
    {
        "test_cli_doctor.py", "test_cli_doctor_env.py", "test_cli_extras.py", "test_docs_contract.py",
        "test_interface_fuzz.py", "test_logs_oracle.py", "test_logs_report_browser.py",
        "test_setup_audit.py", "test_setup_completion.py", "test_setup_script.py",
    }
)  # fmt: skip


def is_fast(path: Path, fixtures: set[str]) -> bool:
    """Return whether a test of the module `path` with these `fixtures` is fast."""
    return may_be_fast(path) and not fixtures & STARTING_FIXTURES and not _starts_something(path)


def may_be_fast(path: Path) -> bool:
    """Return whether a module can have fast tests, without importing it."""
    return path.parent.name not in SLOW_FOLDERS and path.name not in SLOW_MODULES


@cache
def _starts_something(path: Path) -> bool:
    return STARTING_WORDS.search(path.read_text(encoding="utf-8")) is not None
