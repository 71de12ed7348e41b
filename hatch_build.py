"""Compile the C modules of `cordboard logs`, if there is a compiler.

Everything works without them, more slowly (docs/reading.md gives figures), so a missing compiler or Python.h
does not make an installation fail.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import sys_tags

SOURCES = ("src/cordboard/logs/_native.c",)
SUFFIX = ".abi3.so"
FLAGS = ("-std=c11", "-O2", "-fPIC", "-shared", "-pthread")


class CompiledPart(BuildHookInterface[Any]):
    """Puts each compiled module beside its source, for editable installations and for wheels."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the modules, and give the wheel the tag of this platform."""
        for name in SOURCES:
            source = Path(self.root, name)
            why = compile_part(source, source.with_suffix(SUFFIX))
            if why is not None:
                self.app.display_warning(f"{name} is left out, logs are read more slowly: {why}")
            elif version == "standard":
                build_data["artifacts"].append(str(Path(name).with_suffix(SUFFIX)))
                build_data["pure_python"] = False
                build_data["tag"] = f"cp311-abi3-{next(sys_tags()).platform}"


def compile_part(source: Path, target: Path, flags: tuple[str, ...] = FLAGS) -> str | None:
    """Compile `source` to `target` with the compiler's `flags`.

    Returns:
        None, or the reason why it was not compiled. In that case there is no file at `target`.

    The file is renamed into place, so that a running process keeps the one that it has loaded.
    """
    try:
        target.unlink(missing_ok=True)
    except OSError as error:
        return f"{target} cannot be written: {error.strerror}"
    compiler = _compiler()
    include, machine = sysconfig.get_path("include"), sysconfig.get_path("platinclude")
    if compiler is None:
        return "there is no C compiler"
    if not Path(include, "Python.h").exists():
        return f"there is no Python.h in {include}"
    made = target.with_suffix(f".{os.getpid()}.so")
    command = [*compiler, *flags, f"-I{include}", f"-I{machine}", str(source), "-o", str(made)]
    try:
        for words in (command, [sys.executable, "-I", "-c", LOADED, str(made), source.stem]):
            ran = subprocess.run(words, capture_output=True, text=True, check=False)
            if ran.returncode != 0:
                told = ran.stderr.splitlines() or [f"{words[0]} failed"]
                return next((line for line in told if "rror: " in line), told[-1])
        made.rename(target)
    finally:
        made.unlink(missing_ok=True)
    return None


LOADED = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location(sys.argv[2], sys.argv[1])
spec.loader.exec_module(importlib.util.module_from_spec(spec))
"""


def _compiler() -> list[str] | None:
    named = (os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc", "gcc", "clang")
    return next(
        (words for n in named if (words := shlex.split(n or "")) and shutil.which(words[0])), None
    )
