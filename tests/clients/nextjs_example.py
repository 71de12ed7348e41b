"""The npm package, packed, installed into the example of Next.js, built and served."""

import asyncio
import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clients.documented_code import NODE

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "nextjs"
PACKAGE = ROOT / "clients" / "js"
TSC = ROOT / "node_modules" / ".bin" / "tsc"
NPM = NODE.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
OFFLINE = ("ENOTFOUND", "ECONNREFUSED", "ETIMEDOUT", "EAI_AGAIN", "ECONNRESET", "E403", "E404")
LOCAL = re.compile(rb"http://localhost:\d+")
INSTALL_S = 300
BUILD_S = 600


class MissingError(Exception):
    """This machine cannot install the example; the text says why."""


def npm(folder: Path, *words: str, timeout_s: float) -> str:
    """Run npm in a folder; return its output.

    Raises:
        MissingError: The registry cannot be reached.
    """
    done = subprocess.run(
        [NODE, NPM, *words],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode and any(sign in done.stderr for sign in OFFLINE):
        raise MissingError(f"the npm registry cannot be reached: {done.stderr.strip()[-200:]}")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def environment(**more: str) -> dict[str, str]:
    path = f"{TSC.parent}{os.pathsep}{NODE.parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "NEXT_TELEMETRY_DISABLED": "1"} | more


@functools.cache
def packed(folder: Path) -> Path:
    """Return the tarball of the npm package, with the types that packing it makes."""
    if not TSC.exists():
        raise MissingError("no TypeScript: scripts/javascript.sh installs it")
    copy = (
        folder / "repository" / "clients" / "js"
    )  # its tsconfig.json extends that of the repository
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("types", "*.tgz"))
    shutil.copy(ROOT / "tsconfig.json", folder / "repository")
    (folder / "repository" / "node_modules").symlink_to(ROOT / "node_modules")
    listed = npm(copy, "pack", "--json", timeout_s=120)
    return copy / str(json.loads(listed[listed.index("[") :])[0]["filename"])


def built(folder: Path) -> Path:
    """Return a copy of the example in which the packed package is installed, built for production."""
    target = folder / "example"
    ignore = shutil.ignore_patterns("node_modules", ".next", "*.tgz")
    shutil.copytree(EXAMPLE, target, ignore=ignore)
    tarball = packed(folder)
    npm(target, "ci", "--no-audit", "--no-fund", timeout_s=INSTALL_S)
    npm(target, "install", "--no-save", "--no-audit", "--no-fund", str(tarball), timeout_s=120)
    npm(target, "run", "build", timeout_s=BUILD_S)
    return target


def built_for_edge(example: Path, folder: Path) -> Path:
    """Return a copy of the built example whose middleware runs in the edge runtime."""
    target = folder / "edge"
    shutil.copytree(example, target, symlinks=True)
    code = (target / "proxy.ts").read_text(encoding="utf-8")
    (target / "proxy.ts").unlink()
    (target / "middleware.ts").write_text(code.replace("function proxy", "function middleware"))
    npm(target, "run", "build", timeout_s=BUILD_S)
    assert "edge" in (target / ".next" / "server" / "middleware-manifest.json").read_text()
    return target


@dataclass
class Server:
    """The example while it is served.

    Attributes:
        url: Its address.
        output: The lines of its output so far.
    """

    url: str
    output: list[str] = field(default_factory=list)

    @property
    def records(self) -> list[dict[str, Any]]:
        """The lines so far that are records."""
        found = []
        for line in self.output:
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return [record for record in found if isinstance(record, dict)]


@contextlib.asynccontextmanager
async def served_example(folder: Path, log: Path, **variables: str) -> AsyncIterator[Server]:
    """Serve a built example on a free port for a block; its output also goes to the file `log`."""
    process = await asyncio.create_subprocess_exec(
        *(
            NODE,
            "node_modules/next/dist/bin/next",
            "start",
            "--port",
            "0",
            "--hostname",
            "localhost",
        ),
        cwd=folder,
        env=environment(**variables),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    stdout = process.stdout
    server = Server("")

    listening = asyncio.Event()

    async def read() -> None:
        with log.open("ab") as file:
            async for line in stdout:
                if not server.url and (found := LOCAL.search(line)):
                    server.url = found[0].decode()
                    listening.set()
                server.output.append(line.decode())
                file.write(line)
                file.flush()

    reader = asyncio.ensure_future(read())
    try:
        async with asyncio.timeout(60):
            await listening.wait()
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        await reader
