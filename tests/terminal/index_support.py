"""A package index on loopback, for the real pip: it can hold an answer back, or fail."""

import base64
import contextlib
import hashlib
import io
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Index:
    """Packages without code, by name; `url` is for PIP_INDEX_URL."""

    def __init__(self) -> None:
        """Serve on a free port."""
        self.pages, self.files = threading.Event(), threading.Event()
        self.let_go()
        self.failing = False
        self.asked: list[str] = []
        self._wheels: dict[str, bytes] = {}
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.answer(self)

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/simple"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def hold(self) -> None:
        """Answer nothing until `pages` and `files` are set."""
        self.pages.clear()
        self.files.clear()

    def let_go(self) -> None:
        """Answer again."""
        self.pages.set()
        self.files.set()

    def close(self) -> None:
        """Stop serving."""
        self.let_go()
        self._server.shutdown()
        self._server.server_close()

    def add(self, name: str, files: int = 1) -> str:
        """Add a package with so many modules; return its line in a requirements file."""
        self._wheels[name] = wheel(name, files)
        return (
            f"{name}==1.0 \\\n    --hash=sha256:{hashlib.sha256(self._wheels[name]).hexdigest()}\n"
        )

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer for a package's page or its file, when answers are let go."""
        self.asked.append(request.path)
        is_file = request.path.endswith(".whl")
        (self.files if is_file else self.pages).wait()
        name = request.path.strip("/").split("/")[1].split("-")[0]
        if self.failing or name not in self._wheels:
            request.send_error(404)
            return
        file = f"{name}-1.0-py3-none-any.whl"
        page = f'<!DOCTYPE html><a href="/files/{file}">{file}</a>'.encode()
        body = self._wheels[name] if is_file else page
        request.send_response(200)
        request.send_header("Content-Type", "application/zip" if is_file else "text/html")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        with contextlib.suppress(ConnectionError):  # the one who asked was ended meanwhile
            request.wfile.write(body)


def wheel(name: str, files: int) -> bytes:
    """Return a wheel of so many small modules."""
    about = f"{name}-1.0.dist-info"
    parts = {f"{name}/__init__.py": b"", f"{name}/data_0.py": b"here = True\n"}
    parts.update({f"{name}/data_{n}.py": b"here = True\n" for n in range(files)})
    parts[f"{about}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode()
    parts[f"{about}/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    rows = [f"{path},sha256={_digest(body)},{len(body)}" for path, body in parts.items()]
    parts[f"{about}/RECORD"] = "\n".join([*rows, f"{about}/RECORD,,"]).encode()
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for path, body in parts.items():
            archive.writestr(zipfile.ZipInfo(path), body)
    return made.getvalue()


def _digest(body: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()
