"""scripts/audit.sh: known vulnerabilities fail `make lint`; advisories that cannot be had do not."""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).parents[2]
ADVISORY = {
    "id": "PYSEC-0000-1",
    "summary": "made up",
    "modified": "2026-01-01T00:00:00Z",
    "affected": [
        {
            "package": {"name": "jinja2", "ecosystem": "PyPI"},
            "ranges": [
                {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99"}]},
            ],
        }
    ],
}


@contextmanager
def advisories(known: dict[str, object]) -> Iterator[str]:
    """Serve what OSV would answer: of each package what is known."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = asked.get("package", {}).get("name")
            body = json.dumps({"vulns": [known[name]]} if name in known else {}).encode()
            self.send_response(200 if asked else 400)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
    finally:
        server.shutdown()
        server.server_close()


def audit(url: str) -> tuple[int, str]:
    done = subprocess.run(
        ["sh", "scripts/audit.sh"],
        cwd=ROOT,
        env={**os.environ, "OSV_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout


def test_audit_without_advisories_succeeds() -> None:
    """It is said that there are none."""
    with advisories({}) as url:
        assert audit(url) == (0, "No known vulnerabilities found\n")


def test_audit_fails_on_an_advisory() -> None:
    """The package, its version and the advisory are named."""
    with advisories({"jinja2": ADVISORY}) as url:
        status, said = audit(url)
    assert status == 1
    assert "Found 1 known vulnerability" in said
    assert "PYSEC-0000-1" in said


def test_audit_without_advisory_service_succeeds_with_a_message() -> None:
    """Without the data nothing is claimed, and lint does not fail."""
    status, said = audit("http://127.0.0.1:9/v1/query")
    assert status == 0
    assert said == (
        "cordboard: known vulnerabilities were not looked up: http://127.0.0.1:9/v1/query "
        "does not answer\n"
    )
