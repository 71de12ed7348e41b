"""No sequence of states of a secret's file opens a server that started with a secret."""

import asyncio
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from itsdangerous import URLSafeSerializer

from cordboard import secret_files, settings
from cordboard.cli import main
from cordboard.contract.errors import SettingsError
from cordboard.environment import (
    CONTROL_SECRET,
    CONTROL_SECRET_PREV,
    SECRET_VARIABLES,
    SESSION_SECRET,
)
from cordboard.interface.login import ForgedError
from cordboard.web import auth
from lines_support import Lines
from parts_support import PARTS, client, make

FIRST = "first-secret-of-24-chars"
SECRETS = st.sampled_from([f"{letter}-secret-of-24-characters" for letter in "abc"])
# A path of each component that needs the secret.
PLACES = {"gateway": "/sessions", "operator": "/metrics", "runner": "/sessions"}


def write(path: Path, text: str | bytes) -> None:
    path.write_bytes(text.encode() if isinstance(text, str) else text)


class Files(RuleBasedStateMachine):
    """A secret's file goes through the states that files can have; strangers try in between."""

    variable = ""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.file = self.folder / "secret"
        write(self.file, FIRST)
        os.environ[f"{self.variable}_FILE"] = str(self.file)

    def teardown(self) -> None:
        os.environ.pop(f"{self.variable}_FILE", None)
        shutil.rmtree(getattr(self, "folder", ""), ignore_errors=True)

    def _clear(self) -> None:
        if self.file.is_dir():
            self.file.rmdir()
        else:
            self.file.unlink(missing_ok=True)

    @rule(value=SECRETS)
    def written(self, value: str) -> None:
        self._clear()
        write(self.file, value + "\n")

    @rule(value=SECRETS)
    def renamed_over(self, value: str) -> None:
        self._clear()
        write(self.folder / "new", value)
        (self.folder / "new").rename(self.file)

    @rule(value=SECRETS, length=st.integers(0, 15))
    def half_written(self, value: str, length: int) -> None:
        self._clear()
        write(self.file, value[:length])

    @rule(blank=st.sampled_from(["", "\n", "  \n\t", "\ufeff"[:0]]))
    def emptied(self, blank: str) -> None:
        self._clear()
        write(self.file, blank)

    @rule()
    def missing(self) -> None:
        self._clear()

    @rule()
    def directory(self) -> None:
        self._clear()
        self.file.mkdir()

    @rule()
    def unreadable(self) -> None:
        """A link to itself: root may read a file of mode 0."""
        self._clear()
        self.file.symlink_to(self.file)

    @rule()
    def not_text(self) -> None:
        self._clear()
        write(self.file, b"\xff\xfe\x00")


class ControlFiles(Files):
    """The answers of the gateway, the operator and the runner."""

    variable = CONTROL_SECRET

    @initialize()
    def serve(self) -> None:
        self.start()
        self.apps = {part: make(part) for part in PARTS}

    @invariant()
    def closed(self) -> None:
        if hasattr(self, "apps"):
            asyncio.run(self._ask_all())

    async def _ask_all(self) -> None:
        for part, app in self.apps.items():
            async with client(app) as asking:
                for given in (None, "", "a", "a-secret-of-24-char"[:15], FIRST[:15]):
                    headers = {} if given is None else {"Authorization": f"Bearer {given}"}
                    path = PLACES.get(part, "/metrics")
                    answer = await asking.get(path, headers=headers)
                    assert answer.status_code in {401, 429, 503}, (part, given)


class CookieFiles(Files):
    """The interface and a stranger's cookie."""

    variable = SESSION_SECRET

    @initialize()
    def serve(self) -> None:
        self.start()
        self.app = make("interface")

    @invariant()
    def closed(self) -> None:
        if not hasattr(self, "app"):
            return
        login = self.app.state.login
        for key in ("", "a", "a-secret-of-24-char"[:15], FIRST[:15]):
            cookie = str(_signed(key))
            for name, secure in (("cordboard_login", False), ("__Host-cordboard_login", True)):
                with pytest.raises(ForgedError):
                    login.read({name: cookie}, secure=secure)


def _signed(key: str) -> str | bytes:
    signer = URLSafeSerializer(key, salt="cordboard.login.2")
    now = int(time.time())
    kept = {"user_id": "u-victim00000000", "name": "Boss", "since": now, "signed": now}
    return signer.dumps(kept)


@pytest.mark.parametrize("machine", [ControlFiles, CookieFiles])
def test_no_file_state_opens_a_server(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Emptied, missing, half-written, renamed, a directory, unreadable: it stays closed."""
    for name in SECRET_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    run_state_machine_as_test(
        machine,
        settings=hypothesis_settings(
            max_examples=15, stateful_step_count=12, deadline=None, derandomize=True
        ),
    )


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The control secret's file."""
    path = tmp_path / "secret"
    monkeypatch.delenv(CONTROL_SECRET, raising=False)
    monkeypatch.setenv(f"{CONTROL_SECRET}_FILE", str(path))
    write(path, FIRST)
    return path


def test_last_good_secret_is_kept_and_the_fault_is_logged_once(file: Path, lines: Lines) -> None:
    """Each fault of the file is one error line, however often it is read; then a new secret counts."""
    assert settings.read_secret(CONTROL_SECRET) == FIRST
    for fault in ("", "short"):
        write(file, fault)
        assert {settings.read_secret(CONTROL_SECRET) for _ in range(5)} == {FIRST}
    file.unlink()
    assert {settings.read_secret(CONTROL_SECRET) for _ in range(5)} == {FIRST}
    write(file, "second-secret-of-24-chars")
    assert settings.read_secret(CONTROL_SECRET) == "second-secret-of-24-chars"
    said = lines()
    assert [record["level"] for record in said] == ["error", "error", "error", "info"]
    assert FIRST not in str(said)
    assert [record["meta"].get("fault", "") for record in said][:3] == [
        "is empty",
        "contains 5 characters, too few for the next secret",
        "does not exist",
    ]


@pytest.mark.parametrize("length", range(1, len(FIRST)))
def test_beginning_of_the_last_secret_does_not_count(file: Path, length: int) -> None:
    """While a file is half-written, the whole previous secret stays in force."""
    assert settings.read_secret(CONTROL_SECRET) == FIRST
    write(file, FIRST[:length])
    assert settings.read_secret(CONTROL_SECRET) == FIRST


@pytest.mark.parametrize(("content", "words"), [(None, "does not exist"), (" \n", "is empty")])
def test_file_without_a_secret_at_the_start_is_a_settings_error(
    file: Path, content: str | None, words: str
) -> None:
    """A server never starts without a secret because its file is missing or empty."""
    file.unlink() if content is None else write(file, content)
    with pytest.raises(SettingsError, match=words):
        settings.load().control_secrets  # noqa: B018


def test_previous_secret_ends_with_its_file(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty or missing file revokes the previous secret; a short one never counts."""
    previous = tmp_path / "previous"
    monkeypatch.setenv(f"{CONTROL_SECRET_PREV}_FILE", str(previous))
    found = settings.load()
    assert list(found.control_secrets) == [FIRST]
    write(previous, "p")
    assert list(found.control_secrets) == [FIRST]
    write(previous, "previous-secret-of-24-chars")
    assert list(found.control_secrets) == [FIRST, "previous-secret-of-24-chars"]
    write(previous, "")
    assert list(found.control_secrets) == [FIRST]


@pytest.mark.parametrize("part", ["gateway", "operator", "runner"])
async def test_public_server_without_a_secret_is_503(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It refuses every caller."""
    monkeypatch.delenv(CONTROL_SECRET, raising=False)
    async with client(make(part, local=False)) as asking:
        assert (await asking.get(PLACES[part])).status_code == 503


@pytest.mark.parametrize(
    ("host", "secret", "words"),
    [
        ("0.0.0.0", "", "without a control secret"),
        ("10.0.0.1", "x" * 15, "15 characters"),
        ("10.0.0.1", "x" * secret_files.LENGTH_MIN, ""),
        ("127.0.0.1", "x", ""),
    ],
)
def test_short_secret_is_refused_beyond_loopback(host: str, secret: str, words: str) -> None:
    """It needs 16 characters or more; otherwise the exit status is 2."""
    secrets = (secret,) if secret else ()
    if not words:
        auth.require_secret_beyond_loopback(host, secrets)
        return
    with pytest.raises(SettingsError, match=words) as raised:
        auth.require_secret_beyond_loopback(host, secrets)
    assert raised.value.exit_code == 2
    assert raised.value.hint


def test_short_secret_of_an_edge_with_a_public_address_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An edge on loopback behind a tunnel gives out URLs from which a short secret could be found."""
    monkeypatch.setenv("BOT_CONTROL_SHARED_SECRET", "abc")
    monkeypatch.setenv("CORDBOARD_PUBLIC_URL", "https://voice.example.com")
    assert main(["edge", "--port", "0"]) == 2
