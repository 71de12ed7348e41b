"""A proxy with TLS that serves an application below a path: nginx where it is installed, else one in this process."""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import pytest
from aiohttp import web

from tests_support import until
from tls_support import Authority

NGINX: Final = os.environ.get("NGINX") or shutil.which("nginx", path="/usr/sbin:/usr/bin")
_CONFIG: Final = """
daemon off; pid nginx.pid; error_log error.log; worker_processes 1; events {{ }}
http {{
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
  scgi_temp_path scgi; log_format path '$request_uri'; access_log access.log path;
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {cert}; ssl_certificate_key {key};
    location {prefix}/ {{
      proxy_pass {target}; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Prefix {prefix};
    }}
    location / {{ return 404; }}
  }}
}}
"""
CADDY: Final = os.environ.get("CADDY") or shutil.which("caddy")
_CADDYFILE: Final = """
{{
  admin off
  auto_https off
}}
https://127.0.0.1:{port} {{
  tls {cert} {key}
  {handle} {prefix}/* {{
    reverse_proxy {target}
  }}
  log {{
    output file {log}
  }}
}}
"""
_HOP_BY_HOP: Final = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass(frozen=True)
class Proxy:
    """A running proxy: its address, and the paths of all requests so far."""

    url: str
    paths: Callable[[], list[str]]


@contextlib.asynccontextmanager
async def prefix_proxy(
    folder: Path, port: int, target: str, prefix: str, files: Authority, *, strips: bool
) -> AsyncIterator[Proxy]:
    """Serve ``target`` below ``prefix``; a proxy that strips removes it from the requests."""
    if NGINX is None:
        async with _own_proxy(port, target, prefix, files, strips=strips) as proxy:
            yield proxy
        return
    # With a path, here "/", nginx replaces the prefix by it; without one it keeps the path.
    text = _CONFIG.format(
        port=port,
        prefix=prefix,
        target=f"{target}/" if strips else target,
        cert=files.cert,
        key=files.key,
    )
    (folder / "nginx.conf").write_text(text)
    words = (NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr")
    process = await asyncio.create_subprocess_exec(*words)
    try:
        await until((folder / "nginx.pid").exists)  # written when it listens
        yield Proxy(
            f"https://127.0.0.1:{port}", lambda: (folder / "access.log").read_text().splitlines()
        )
    finally:
        process.terminate()
        await process.wait()


@contextlib.asynccontextmanager
async def caddy_proxy(
    folder: Path, port: int, target: str, prefix: str, files: Authority, *, strips: bool
) -> AsyncIterator[Proxy]:
    """Serve ``target`` below ``prefix`` with Caddy as it is: it adds X-Forwarded-* and passes on the host."""
    if CADDY is None:
        pytest.skip("no Caddy: set CADDY, or install it (apt-get install caddy)")
    log = folder / "caddy.log"
    (folder / "Caddyfile").write_text(
        _CADDYFILE.format(
            port=port,
            prefix=prefix,
            target=target.removeprefix("http://"),
            cert=files.cert,
            key=files.key,
            handle="handle_path" if strips else "handle",
            log=log,
        )
    )
    # It keeps its certificates and its state below these.
    homes = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    words = (CADDY, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile")
    process = await asyncio.create_subprocess_exec(
        *words, env=os.environ | homes, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await until(lambda: is_open(port))
        yield Proxy(f"https://127.0.0.1:{port}", lambda: _logged_paths(log))
    finally:
        process.terminate()
        await process.wait()


def _logged_paths(log: Path) -> list[str]:
    lines = log.read_text().splitlines() if log.exists() else []
    return [json.loads(line)["request"]["uri"] for line in lines]


def is_open(port: int) -> bool:
    """Return whether something listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.asynccontextmanager
async def _own_proxy(
    port: int, target: str, prefix: str, files: Authority, *, strips: bool
) -> AsyncIterator[Proxy]:
    paths: list[str] = []

    async def forward(request: web.Request) -> web.StreamResponse:
        paths.append(request.raw_path)
        if not request.raw_path.startswith(f"{prefix}/"):
            return web.Response(status=404)
        path = request.raw_path.removeprefix(prefix) if strips else request.raw_path
        headers = {**request.headers, "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": prefix}
        async with client.request(
            request.method,
            target + path,
            headers=headers,
            data=await request.read(),
            allow_redirects=False,
        ) as answer:
            kept = [pair for pair in answer.headers.items() if pair[0].lower() not in _HOP_BY_HOP]
            response = web.StreamResponse(status=answer.status)
            response.headers.extend(kept)
            await response.prepare(request)
            async for part in answer.content.iter_any():
                await response.write(part)
            return response

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.cert, files.key)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", forward)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    async with aiohttp.ClientSession(auto_decompress=False) as client:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
        try:
            yield Proxy(f"https://127.0.0.1:{port}", lambda: paths)
        finally:
            await runner.cleanup()
