"""No message of a source shows a secret, whatever is wrong with it."""

import base64
import json
import threading
import traceback
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.cli import main
from cordboard.contract.errors import CordboardError, SettingsError
from cordboard.logs.environments import open_type, sources_of
from cordboard.logs.query import Query
from cordboard.logs.source_check import check_source
from cordboard.logs.sources import Source
from cordboard.logs.sources._http import Store
from cordboard.logs.sources._secrets import words_of
from cordboard.logs.sources._slices import StoreError
from logs.logs_support import ask_source, at

SECRET = "s3cr3t-token"
WINDOW = {"since": at(0), "until": at(1)}
OF_TYPE: Mapping[str, Mapping[str, str]] = {
    "loki": {"selector": '{namespace="voice"}'},
    "victorialogs": {},
    "gateway": {},
}
BROKEN = ["{}\nX-Other: 1", "{}\r\n\r\nGET /", "{}\0", "{}\x7f", "{}\u20ac", "\t{}", "{}\udcff"]


class _Refusing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Refuse, and repeat the credentials, as careless proxies do."""
        self.server.seen.append(self.headers["Authorization"])  # type: ignore[attr-defined]
        told = f"refused: {self.headers['Authorization']} {self.headers['X-Amz-Security-Token']}"
        text = told.encode()
        if "X-Amz-Target" in self.headers:
            text = json.dumps({"__type": "IncompleteSignature", "message": told}).encode()
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_POST(self) -> None:
        """Refuse as well, and read what was sent."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def refusing() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    server.seen, server.status = [], 401  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def source_of(kind: str, url: str, **options: str) -> Source:
    return open_type(kind, {"url": url, "token_env": "STORE_TOKEN", **OF_TYPE[kind], **options})


def told_by(source: Source) -> str:
    """All that a query and the check of a source show."""
    answer = ask_source(source, session="call-7", **WINDOW)
    text = repr(answer.coverage.as_dict()) + repr(source.explain(Query(session="call-7")))
    with_errors = [lambda: check_source(source), lambda: source.locate("call-7")]
    for ask in (*with_errors, source.facts):
        try:
            text += repr(ask())
        except CordboardError as error:
            text += "".join(traceback.format_exception(error))
        except StoreError as error:
            text += "".join(traceback.format_exception(error))
    return text


@pytest.mark.parametrize("kind", OF_TYPE)
@pytest.mark.parametrize("form", BROKEN)
def test_token_that_cannot_be_sent_is_named_by_its_variable(
    kind: str, form: str, monkeypatch: pytest.MonkeyPatch, refusing: ThreadingHTTPServer
) -> None:
    """The message says what is wrong with the variable, and does not repeat its value."""
    if "\0" in form:
        monkeypatch.setattr("os.environ", {"STORE_TOKEN": form.format(SECRET)})
    else:
        monkeypatch.setenv("STORE_TOKEN", form.format(SECRET))
    told = told_by(source_of(kind, f"http://127.0.0.1:{refusing.server_port}"))
    assert SECRET not in told
    assert "STORE_TOKEN" in told
    assert not refusing.seen  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", OF_TYPE)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\n\n"])
def test_newline_at_the_end_of_a_token_is_not_sent(
    kind: str, newline: str, monkeypatch: pytest.MonkeyPatch, refusing: ThreadingHTTPServer
) -> None:
    """A secret that was read from a file ends with one. A server that repeats the token does not get it shown."""
    monkeypatch.setenv("STORE_TOKEN", SECRET + newline)
    told = told_by(source_of(kind, f"http://127.0.0.1:{refusing.server_port}"))
    assert set(refusing.seen) == {f"Bearer {SECRET}"}  # type: ignore[attr-defined]
    assert SECRET not in told
    assert "refused: Bearer …" in told


@pytest.mark.parametrize("status", [200, 401])
def test_password_that_a_server_repeats_is_not_shown(
    status: int, monkeypatch: pytest.MonkeyPatch, refusing: ThreadingHTTPServer
) -> None:
    """Neither as it is, nor as it is sent."""
    refusing.status = status  # type: ignore[attr-defined]
    monkeypatch.setenv("STORE_TOKEN", f"{SECRET}\n")
    told = told_by(source_of("loki", f"http://127.0.0.1:{refusing.server_port}", user="12"))
    sent = base64.b64encode(f"12:{SECRET}".encode()).decode()
    assert set(refusing.seen) == {f"Basic {sent}"}  # type: ignore[attr-defined]
    assert SECRET not in told
    assert sent not in told


@pytest.mark.parametrize(
    "url",
    [
        *(f"{scheme}://user:{SECRET}@host" for scheme in ("http", "htp", "")),
        *(f"http://user:a/{SECRET}@host", f"http://user:a#{SECRET}@host:80"),
        *(f"http://[user:{SECRET}@host", f"http://host:{SECRET}", f"//{SECRET}@"),
        f"http://user:{SECRET}\n@host",
    ],
)
@pytest.mark.parametrize("kind", OF_TYPE)
def test_password_in_a_url_is_refused_and_not_shown(kind: str, url: str) -> None:
    """Also in one that is no URL, as the password has a character that is not quoted."""
    with pytest.raises(SettingsError) as caught:
        source_of(kind, url)
    assert SECRET not in f"{caught.value.message}{caught.value.hint}"


@given(st.text(max_size=30))
def test_any_url_is_taken_or_refused(text: str) -> None:
    """No text gives another error."""
    for url in (text, f"http://{text}", f"http://user:{text}@host"):
        try:
            source_of("victorialogs", url)
        except SettingsError:
            continue


@pytest.mark.parametrize("url", [f"http://user:{SECRET}@host", f"http://{SECRET} x", "http://\x00"])
def test_no_error_of_the_client_is_quoted(url: str) -> None:
    """A store that a program makes of an unchecked URL shows none of it, not even in a traceback."""
    with pytest.raises(StoreError) as caught:
        Store(url, pauses_s=(), timeout_s=5.0).json("/", {})
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_only_errors_of_the_system_are_quoted() -> None:
    """Their texts are the system's; all other errors are named by their type."""
    assert words_of(ValueError(f"Invalid header value {SECRET!r}")) == "ValueError"
    assert words_of(ConnectionRefusedError(111, "Connection refused")) == "Connection refused"


@pytest.mark.parametrize(
    "entry",
    [
        {"type": "loki", "url": [f"http://user:{SECRET}@host"]},
        {"type": "loki", "url": "http://host", "selector": "{a}", "token_env": f"{SECRET}.x"},
        {"type": "loki", "url": "http://host", "selector": "{a}", "tenant": f"a\n{SECRET}"},
        {"type": "victorialogs", "url": "http://host", "token_env": f"Bearer {SECRET}"},
        {"type": "gateway", "url": "http://host", "token_env": f"{SECRET}="},
        {"type": "cloudwatch", "groups": ["x"], "endpoint": f"http://user:{SECRET}@host"},
        {"url": f"http://user:{SECRET}@host"},
        f"http://user:{SECRET}@host",
    ],
)
def test_option_with_a_secret_in_the_wrong_place_is_refused(entry: Any, tmp_path: Path) -> None:
    """A token in place of a variable's name, or a password in a URL, does not reach the message."""
    with pytest.raises(SettingsError) as caught:
        sources_of("prod", {"prod": [entry]}, tmp_path)
    assert SECRET not in f"{caught.value.message}{caught.value.hint}"


@pytest.mark.parametrize(
    ("variable", "end"),
    [
        *(("AWS_SESSION_TOKEN", end) for end in ("", "\n", "\nX: 1")),
        *(("AWS_ACCESS_KEY_ID", end) for end in ("\n", "\nX: 1")),
    ],
)
def test_credentials_of_aws_are_not_shown(
    variable: str, end: str, monkeypatch: pytest.MonkeyPatch, refusing: ThreadingHTTPServer
) -> None:
    """Its client quotes the header that it could not send."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "AKIDEXAMPLE")
    monkeypatch.setenv(variable, SECRET + end)
    url = f"http://127.0.0.1:{refusing.server_port}"
    options = {"groups": ["/eks/voice"], "region": "eu-central-1", "endpoint": url}
    answer = ask_source(open_type("cloudwatch", options), **WINDOW)
    assert answer.shortfalls
    assert SECRET not in repr(answer.coverage.as_dict())


def test_commands_show_no_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`doctor --env`, the coverage and a report name the variable."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STORE_TOKEN", f"{SECRET}\nx")
    (tmp_path / "cordboard.toml").write_text(
        "".join(
            f'[[environments.prod]]\ntype = "{kind}"\nurl = "http://127.0.0.1:9"\n'
            'token_env = "STORE_TOKEN"\n'
            + "".join(f"{name} = '{value}'\n" for name, value in options.items())
            for kind, options in OF_TYPE.items()
        )
    )
    main(["doctor", "--env", "prod"])
    files = ["--coverage", "coverage.json", "--report", "report.html"]
    main(["logs", "--env", "prod", "--session", "call-7", *files])
    said = "".join(capsys.readouterr())
    told = said + "".join((tmp_path / name).read_text() for name in files[1::2])
    assert SECRET not in told
    assert "STORE_TOKEN" in told
    assert json.loads((tmp_path / "coverage.json").read_text())
