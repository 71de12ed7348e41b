"""What the processes say that a test starts: heard by a ``sitecustomize`` on their PYTHONPATH.

Each of them notes, in one file that they share, which module of the project spoke for the first
time, and what was wrong with it; the kit reads on from there after each test.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import msgspec

from cordboard.contract.record import SERVER_PREFIX
from cordboard.emit.pipeline import pipeline
from cordboard.emit.witness import caller, faults, is_ours

_PATH: Final = "PYTHONPATH"
_SITE: Final = """import sys
try:
    from cordboard.context.hook import when_imported
    def _listen():
        from cordboard.emit.children import listen
        listen({notes!r}, {root!r})
    when_imported("cordboard.emit.pipeline", _listen)
except ImportError:
    pass
sys.path.remove({folder!r})
from importlib.machinery import PathFinder
_next = PathFinder.find_spec("sitecustomize")  # which this one hides
if _next is not None:
    from importlib.util import module_from_spec
    _next.loader.exec_module(module_from_spec(_next))
"""
Heard = Counter[tuple[str, str, bool]]


class Children:
    """The notes of all processes that inherit this one's environment.

    Args:
        root: The project's folder; what modules elsewhere say is not noted.
    """

    def __init__(self, root: str) -> None:
        self._folder = Path(mkdtemp(prefix="cordboard-log-"))
        self._notes = self._folder / "notes.jsonl"
        self._notes.touch()
        self._read = 0
        site = _SITE.format(notes=str(self._notes), root=root, folder=str(self._folder))
        (self._folder / "sitecustomize.py").write_text(site, encoding="utf-8")
        self._before = os.environ.get(_PATH)
        rest = [self._before] if self._before else []
        os.environ[_PATH] = os.pathsep.join([str(self._folder), *rest])

    def take(self, heard: Heard) -> Iterator[str]:
        """Add what was noted since the last time to ``heard``; return what was wrong."""
        with self._notes.open("rb") as file:
            file.seek(self._read)
            notes = file.read()
        self._read += len(notes)
        for note in map(msgspec.json.decode, notes.splitlines()):
            if "wrong" in note:
                yield f"{note['wrong']} (in a process of its own)"
            else:
                heard[note["module"], note["service"], note["known"]] += 1

    def stop(self) -> None:
        """Leave environment and disk as they were."""
        os.environ.pop(_PATH)
        if self._before:
            os.environ[_PATH] = self._before
        shutil.rmtree(self._folder, ignore_errors=True)


def listen(notes: str, root: str) -> None:
    """Note what this process says, in the file ``notes``; called in a process that a test started."""
    pipeline.watchers.append(_watcher(notes, root))
    pipeline.redirect()


def _watcher(notes: str, root: str) -> Callable[[bytes], None]:
    noted: set[Any] = set()

    def note(key: object, **what: object) -> None:
        if key not in noted:
            noted.add(key)
            with suppress(OSError), Path(notes).open("ab", buffering=0) as file:  # it may be gone
                file.write(msgspec.json.encode(what) + b"\n")

    def watch(line: bytes) -> None:
        place = caller()
        if not is_ours(place.file, root):
            return
        shown = str(place).removeprefix(f"{root}/")
        for fault in faults(line):
            note((shown, fault), wrong=f"{shown}: a line breaks the schema: {fault}")
        record = msgspec.json.decode(line)
        if record["boot"] == pipeline.boot:
            known = not str(record["sessionId"]).startswith(SERVER_PREFIX)
            said = (place.module, str(record["service"]), known)
            note(said, module=said[0], service=said[1], known=known)

    return watch
