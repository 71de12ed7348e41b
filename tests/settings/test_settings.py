"""Settings: one file and the environment over it; unknown names are errors that help."""

import os
from pathlib import Path

import pytest

from cordboard import settings
from cordboard.contract.errors import SettingsError
from cordboard.up.state import StateFile


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("CORDBOARD_", "REDIS_URL", "BOT_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults(tmp_path: Path) -> None:
    """Without a file and a variable there is a usable default for everything."""
    found = settings.load()
    assert found.redis_url is None
    assert found.log_path == tmp_path / "state" / "cordboard" / "logs" / "local"
    assert found.bots == {}


def test_file_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is read, bots are relative to it, and the environment wins."""
    path = write(
        tmp_path / "cordboard.toml",
        'redis_url = "redis://file"\nqueue_max = 7\ndaily_domains = ["meet.acme.org"]\n[bots]\ndefault = "bot.py"\n',
    )
    monkeypatch.setenv("REDIS_URL", "redis://env")
    found = settings.load()
    assert (found.redis_url, found.queue_max) == ("redis://env", 7)
    assert found.daily_domains == ("meet.acme.org",)
    assert found.bots == {"default": str(path.parent / "bot.py")}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("redis_ur = 'x'", "Did you mean redis_url?"),
        ("queue_max = 'x'", "a number above 0"),
        ("queue_max = true", "a number above 0"),
        ("redis_url = 7", "expected a string"),
        ("bot_control_shared_secret = 'x'", "is a secret"),
        ("bots = 'x'", r"write \[bots\]"),
        ("[bots]\ndefault = 7", "a file name"),
        ("nonsense", "not TOML"),
    ],
)
def test_bad_file(tmp_path: Path, text: str, words: str) -> None:
    """A bad file is refused by its name, with what would do."""
    write(tmp_path / "cordboard.toml", text)
    with pytest.raises(SettingsError, match=words) as caught:
        settings.load()
    assert "cordboard.toml" in str(caught.value)


def test_missing_file() -> None:
    """A file that was named must be there."""
    with pytest.raises(SettingsError, match=r"Cannot read none\.toml"):
        settings.load("none.toml")


def test_unknown_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown variable of ours is an error that suggests the nearest."""
    monkeypatch.setenv("CORDBOARD_LOGDIR", "x")
    with pytest.raises(SettingsError, match="Did you mean CORDBOARD_LOG_DIR"):
        settings.load()


def test_bad_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable's bad value is named with the variable."""
    monkeypatch.setenv("CORDBOARD_QUEUE_MAX", "-1")
    with pytest.raises(SettingsError, match="CORDBOARD_QUEUE_MAX"):
        settings.load()


def test_secret_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret's file is read again at every look, so that rotation needs no restart."""
    path = write(tmp_path / "secret", "one\n")
    monkeypatch.setenv(settings.CONTROL_SECRET + "_FILE", str(path))
    found = settings.load()
    assert found.control_secrets == ("one",)
    write(path, "two\n")
    assert found.control_secrets == ("two",)


def test_running_up(tmp_path: Path) -> None:
    """A running `up` is found while it lives, and never afterwards, even when its file stayed."""
    assert settings.running_up() is None
    with StateFile() as state:
        state.write({"pid": 1, "addresses": {"gateway": "http://g"}})
        found = settings.running_up()
        assert found is not None
        assert found.gateway_url == "http://g"
        with pytest.raises(SettingsError, match="did not give its secret"):
            found.secrets()
        assert state.path.stat().st_mode & 0o777 == 0o600
        text = state.path.read_text()
    assert settings.running_up() is None
    write(state.path, text)
    assert settings.running_up() is None


def test_second_up() -> None:
    """A second `up` says what already runs where."""
    from cordboard.contract.errors import CordboardError

    with StateFile() as state:
        state.write({"pid": 7, "addresses": {"gateway": "http://g"}})
        with pytest.raises(CordboardError, match=r"process 7(?s:.*)http://g") as caught:
            StateFile()
        assert "kill 7" in caught.value.hint


def test_every_setting_is_documented() -> None:
    """Each setting has its variable and its meaning."""
    names = [name for name, _, _, _ in settings.documented()]
    assert len(names) >= 8
    assert all(doc.endswith(".") for _, _, _, doc in settings.documented())


def test_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runner elsewhere gets what it must share, from file and environment; no secret, no place."""
    write(
        tmp_path / "cordboard.toml", 'lease_s = 9\ndaily_domains = ["a.b", "c.d"]\nlog_dir = "x"\n'
    )
    monkeypatch.setenv("REDIS_URL", "redis://:secret@h")
    monkeypatch.setenv(settings.CONTROL_SECRET, "secret")
    monkeypatch.setenv("CORDBOARD_KUBERNETES_IMAGE", "i")
    monkeypatch.setenv("LOG_LEVEL", "debug")
    assert settings.shared_environment(settings.load()) == {
        "CORDBOARD_LEASE_S": "9", "CORDBOARD_DAILY_DOMAINS": "a.b,c.d", "LOG_LEVEL": "debug",
    }  # fmt: skip


def test_kubeconfig_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All files of KUBECONFIG that are there; without it the one of the home directory."""
    one, two = (write(tmp_path / name, "") for name in ("one", "two"))
    monkeypatch.setenv("KUBECONFIG", f"{one}{os.pathsep}{tmp_path / 'none'}{os.pathsep}{two}")
    assert settings.kubeconfig_files() == (one, two)
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings.kubeconfig_files() == ()
    (tmp_path / ".kube").mkdir()
    home = write(tmp_path / ".kube" / "config", "")
    assert settings.kubeconfig_files() == (home,)


def test_what_was_loaded_stays() -> None:
    """Settings are read once: no part changes another's, and none has a name that nobody knows."""
    found = settings.Settings(queue_max=5)
    assert found.queue_max == 5
    with pytest.raises(AttributeError, match="queue_max is set by load"):
        found.queue_max = 6  # type: ignore[misc]  # that is the point
    with pytest.raises(TypeError, match="no such settings: queue_maxx"):
        settings.Settings(queue_maxx=5)


def test_a_value_of_the_wrong_kind_shows_no_password(tmp_path: Path) -> None:
    """What is not wanted is shown, but for the password of a URL in it."""
    file = write(tmp_path / "cordboard.toml", 'redis_url = ["redis://:hunter/2@host"]\n')
    with pytest.raises(SettingsError, match="expected a string") as raised:
        settings.load(file)
    assert "hunter" not in str(raised.value)
