"""Checks the lines of Python processes that a test starts.

A ``sitecustomize`` module on the PYTHONPATH of each child process observes its lines. Per module
of the project it appends one note about the first line, and one about each schema violation, to a
file that all of them share. The checks of the test run read that file after each test.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import msgspec

from cordboard.contract.record import SERVER_PREFIX
from cordboard.emit.pipeline import pipeline
from cordboard.pytest_plugin.line_check import (
    LineCounts,
    call_site,
    is_project_file,
    schema_violations,
)

_PATH: Final = "PYTHONPATH"
# Python imports one sitecustomize only: this one runs the next on the path, which it hides.
_SITECUSTOMIZE: Final = """import sys
try:
    from cordboard.context.import_hooks import run_after_import
    def _observe():
        from cordboard.pytest_plugin.child_processes import observe_process
        observe_process({notes!r}, {root!r})
    run_after_import("cordboard.emit.pipeline", _observe)
except ImportError:
    pass
sys.path.remove({folder!r})
from importlib.machinery import PathFinder
_next = PathFinder.find_spec("sitecustomize")
if _next is not None:
    from importlib.util import module_from_spec
    _next.loader.exec_module(module_from_spec(_next))
"""


class ChildProcesses:
    """The notes of all processes that inherit the environment of this one.

    Args:
        root: The project's folder; lines of modules elsewhere are not noted.
    """

    def __init__(self, root: str) -> None:
        self._folder = Path(mkdtemp(prefix="cordboard-log-"))
        self._notes = self._folder / "notes.jsonl"
        self._notes.touch()
        self._bytes_read = 0
        source = _SITECUSTOMIZE.format(notes=str(self._notes), root=root, folder=str(self._folder))
        (self._folder / "sitecustomize.py").write_text(source, encoding="utf-8")
        self._old_path = os.environ.get(_PATH)
        # First on the path: a sitecustomize of the environment is run by this one.
        old_folders = [self._old_path] if self._old_path else []
        os.environ[_PATH] = os.pathsep.join([str(self._folder), *old_folders])

    def take_notes(self, counts: LineCounts) -> Iterator[str]:
        """Add the lines noted since the last call to `counts`; yield the problems."""
        with self._notes.open("rb") as file:
            file.seek(self._bytes_read)
            notes = file.read()
        # A note is one write() in append mode, so what is there ends with a whole line.
        self._bytes_read += len(notes)
        for note in map(msgspec.json.decode, notes.splitlines()):
            if "problem" in note:
                yield f"{note['problem']} (in a child process)"
            else:
                counts[note["module"], note["service"], note["has_session"]] += 1

    def stop(self) -> None:
        """Restore the environment and remove the notes."""
        os.environ.pop(_PATH)
        if self._old_path:
            os.environ[_PATH] = self._old_path
        shutil.rmtree(self._folder, ignore_errors=True)


def observe_process(notes: str, root: str) -> None:
    """Observe the lines of this process; called in a process that a test has started.

    Args:
        notes: The path of the file for the notes.
        root: The project's folder.
    """
    pipeline.add_observer(_noting_observer(notes, root))


def _noting_observer(notes: str, root: str) -> Callable[[bytes], None]:
    noted: set[Any] = set()

    def note(key: object, **content: object) -> None:
        if key not in noted:
            noted.add(key)
            # The run may have ended and removed the folder while this process goes on.
            with suppress(OSError), Path(notes).open("ab", buffering=0) as file:
                file.write(msgspec.json.encode(content) + b"\n")

    def observe(line: bytes) -> None:
        site = call_site()
        if not is_project_file(site.file, root):
            return
        site_text = str(site).removeprefix(f"{root}/")
        for violation in schema_violations(line):
            problem = f"{site_text}: a line violates the schema: {violation}"
            note((site_text, violation), problem=problem)
        record = msgspec.json.decode(line)
        # Not a line that this process forwards for another one.
        if record["boot"] == pipeline.boot:
            has_session = not str(record["sessionId"]).startswith(SERVER_PREFIX)
            module, service = site.module, str(record["service"])
            key = (module, service, has_session)
            note(key, module=module, service=service, has_session=has_session)

    return observe
