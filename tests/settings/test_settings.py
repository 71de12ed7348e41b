"""Settings: one file and the environment over it; unknown names are errors that help."""

import os
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from cordboard import environment, settings
from cordboard.contract.errors import CordboardError, SettingsError
from cordboard.settings.bots import BotPolicy
from cordboard.settings.loading import FIELDS
from cordboard.settings.reference import setting_docs
from cordboard.settings.running import running_up
from cordboard.up.state import StateFile


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("CORDBOARD_", "REDIS_URL", "BOT_", "PIPECAT_ICE")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_every_setting_has_a_usable_default(tmp_path: Path) -> None:
    """Without a file and a variable there is a usable default for everything."""
    loaded = settings.load()
    assert loaded.redis_url is None
    assert loaded.log_path == tmp_path / "state" / "cordboard" / "logs" / "local"
    assert loaded.bots == {}


def test_environment_takes_precedence_over_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is read, bots are relative to it, and the environment wins."""
    path = write(
        tmp_path / "cordboard.toml",
        'redis_url = "redis://file"\nqueue_max = 7\ndaily_domains = ["meet.acme.org"]\n[bots]\ndefault = "bot.py"\n',
    )
    monkeypatch.setenv("REDIS_URL", "redis://env")
    loaded = settings.load()
    assert (loaded.redis_url, loaded.queue_max) == ("redis://env", 7)
    assert loaded.daily_domains == ("meet.acme.org",)
    assert loaded.bots == {"default": str(path.parent / "bot.py")}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("redis_ur = 'x'", "Did you mean redis_url?"),
        ("queue_max = 'x'", "a number above 0"),
        ("queue_max = true", "a number above 0"),
        ("queue_max = 0", "a number above 0"),
        ("queue_max = 5.0", "a number above 0"),
        ("sessions_per_user = -1", "a number, 0 or more"),
        ("placement = 'x'", "expected spread or pack"),
        ("bot_landlock = 'on'", "expected auto or off"),
        ("trusted_proxies = [1]", "expected a list of strings"),
        ("trusted_proxies = 'x'", "expected a list of strings"),
        ("redis_url = 7", "expected a string"),
        ("bot_control_shared_secret = 'x'", "is a secret"),
        ("ice_servers = 7", "a list of URLs"),
        ("ice_servers = ['turn://h']", "no // after the scheme"),
        ("ice_transport_policy = 'x'", "expected all or relay"),
        ("open_websockets = 'true'", "expected true or false"),
        ("open_websockets = 1", "expected true or false"),
        ("cordboard_turn_secret = 'x'", "is a secret"),
        ("turn_secret = 'x'", "is a secret"),
        ("bots = 'x'", r"write \[bots\]"),
        ("[bots]\ndefault = 7", "a file name"),
        ("[bots.default]\nrestart = 'never'", "a file name"),
        ("[bots.default]\nfile = 'b.py'\nrestarts = 'never'", "Did you mean restart"),
        ("[bots.default]\nfile = 'b.py'\nrestart = 'always'", "expected 'on-death' or 'never'"),
        (
            "[bots.default]\nfile = 'b.py'\nkeep_context = 'yes'",
            "expected true or false, got 'yes'",
        ),
        ("[bots.default]\nfile = 'b.py'\nkeep_contexts = true", "Did you mean keep_context"),
        ("nonsense", "not valid TOML"),
    ],
)
def test_invalid_file_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    """A bad file is refused by its name, with what would do."""
    write(tmp_path / "cordboard.toml", text)
    with pytest.raises(SettingsError, match=words) as caught:
        settings.load()
    assert "cordboard.toml" in str(caught.value)


def test_bot_may_have_a_table(tmp_path: Path) -> None:
    """With its file, and with what happens after the death of its process; a file alone has the defaults."""
    text = "[bots]\na = 'a.py'\n[bots.b]\nfile = 'b.py'\nrestart = 'never'\nkeep_context = true\n"
    loaded = settings.load(str(write(tmp_path / "cordboard.toml", text)))
    assert loaded.bots == {name: str(tmp_path / f"{name}.py") for name in ("a", "b")}
    assert loaded.bot_policies == {
        "a": BotPolicy(restart="on-death", keep_context=False),
        "b": BotPolicy(restart="never", keep_context=True),
    }


def test_named_file_must_exist() -> None:
    """A file that was named must be there."""
    with pytest.raises(SettingsError, match=r"Cannot read none\.toml"):
        settings.load("none.toml")


def test_variables_of_kubernetes_services_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod gets seven kinds of variables for each Service of its namespace, such as `cordboard-gateway`."""
    for prefix in ("CORDBOARD", "CORDBOARD_GATEWAY"):
        for name, value in {
            "SERVICE_HOST": "10.0.0.7",
            "SERVICE_PORT": "4444",
            "SERVICE_PORT_HTTP": "4444",
            "PORT": "tcp://10.0.0.7:4444",
            "PORT_4444_TCP": "tcp://10.0.0.7:4444",
            "PORT_4444_TCP_PROTO": "tcp",
            "PORT_4444_TCP_PORT": "4444",
            "PORT_4444_TCP_ADDR": "10.0.0.7",
        }.items():
            monkeypatch.setenv(f"{prefix}_{name}", value)
    settings.load()
    monkeypatch.setenv("CORDBOARD_GATEWAY_PORT", "4444")
    with pytest.raises(SettingsError, match="CORDBOARD_GATEWAY_PORT: unknown setting"):
        settings.load()


def test_url_of_redis_may_be_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of a mounted Secret; a variable takes precedence, and the file over `cordboard.toml`."""
    write(tmp_path / "cordboard.toml", 'redis_url = "redis://toml"\n')
    url = write(tmp_path / "url", "rediss://:password@redis:6379/0\n")
    monkeypatch.setenv("REDIS_URL_FILE", str(url))
    assert settings.load().redis_url == "rediss://:password@redis:6379/0"
    assert environment.clean_environment().get("REDIS_URL_FILE") is None
    monkeypatch.setenv("REDIS_URL", "redis://env")
    assert settings.load().redis_url == "redis://env"
    monkeypatch.delenv("REDIS_URL")
    url.unlink()
    monkeypatch.setenv("REDIS_URL_FILE", str(tmp_path / "other"))
    with pytest.raises(SettingsError, match=r"REDIS_URL_FILE: .* does not exist"):
        settings.load()


def test_unknown_variable_suggests_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown variable of ours is an error that suggests the nearest."""
    monkeypatch.setenv("CORDBOARD_LOGDIR", "x")
    with pytest.raises(SettingsError, match="Did you mean CORDBOARD_LOG_DIR"):
        settings.load()


def test_invalid_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable's bad value is named with the variable."""
    monkeypatch.setenv("CORDBOARD_QUEUE_MAX", "-1")
    with pytest.raises(SettingsError, match="CORDBOARD_QUEUE_MAX"):
        settings.load()


def test_secret_file_is_read_again_at_each_access(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret's file is read again at every look, so that rotation needs no restart."""
    path = write(tmp_path / "secret", "one\n")
    monkeypatch.setenv(environment.CONTROL_SECRET + "_FILE", str(path))
    loaded = settings.load()
    assert loaded.control_secrets == ("one",)
    write(path, "two\n")
    assert loaded.control_secrets == ("two",)


def test_running_up_is_found_while_it_lives(tmp_path: Path) -> None:
    """A running `up` is found while it lives, and never afterwards, even when its file stayed."""
    assert running_up() is None
    with StateFile() as state:
        state.write({"pid": 1, "addresses": {"gateway": "http://g"}})
        running = running_up()
        assert running is not None
        assert running.gateway_url == "http://g"
        with pytest.raises(SettingsError, match="did not give its secret"):
            running.secrets()
        assert state.path.stat().st_mode & 0o777 == 0o600
        text = state.path.read_text()
    assert running_up() is None
    write(state.path, text)
    assert running_up() is None


def test_second_up_names_the_first() -> None:
    """A second `up` says what already runs where."""
    with StateFile() as state:
        state.write({"pid": 7, "addresses": {"gateway": "http://g"}})
        with pytest.raises(CordboardError, match=r"process 7(?s:.*)http://g") as caught:
            StateFile()
        assert "kill 7" in caught.value.hint


def test_each_setting_has_a_documentation() -> None:
    """The string below each field is a sentence."""
    docs = list(setting_docs())
    assert [doc.name for doc in docs] == list(FIELDS)
    assert all(doc.meaning.endswith(".") for doc in docs)


def test_shared_environment_has_no_secrets_and_no_local_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runner elsewhere gets what it must share, from file and environment; no secret, no place."""
    write(
        tmp_path / "cordboard.toml",
        'lease_s = 9\ndaily_domains = ["a.b", "c.d"]\nlog_dir = "x"\nopen_websockets = true\n',
    )
    monkeypatch.setenv("REDIS_URL", "redis://:secret@h")
    monkeypatch.setenv(environment.CONTROL_SECRET, "secret")
    monkeypatch.setenv("CORDBOARD_KUBERNETES_IMAGE", "i")
    monkeypatch.setenv("LOG_LEVEL", "debug")
    assert settings.shared_environment(settings.load()) == {
        "CORDBOARD_LEASE_S": "9", "CORDBOARD_DAILY_DOMAINS": "a.b,c.d", "LOG_LEVEL": "debug",
    }  # fmt: skip


def test_ice_servers_come_from_file_or_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file's list, then Pipecat's variable, then Cordboard's own, which has the last word."""
    write(
        tmp_path / "cordboard.toml",
        'ice_servers = ["stun:file", {urls = ["turn:file"], username = "u", credential = "p"}]\n',
    )
    assert [str(url) for server in settings.load().ice_servers for url in server.urls] == [
        "stun:file", "turn:file",
    ]  # fmt: skip
    monkeypatch.setenv("PIPECAT_ICE_SERVERS", "stun:pipecat")
    assert str(settings.load().ice_servers[0].urls[0]) == "stun:pipecat"
    monkeypatch.setenv("CORDBOARD_ICE_SERVERS", "stun:cordboard")
    assert str(settings.load().ice_servers[0].urls[0]) == "stun:cordboard"


@pytest.mark.parametrize("name", environment.ICE_SERVERS)
def test_invalid_ice_servers_are_named_without_passwords(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the variable that was set, and no part of a password."""
    monkeypatch.setenv(name, '{"urls": "turn:h", "credential": "Zqpassword"}')
    with pytest.raises(SettingsError, match=f"^{name} ") as caught:
        settings.load()
    assert "Zq" not in str(caught.value)


def test_credentials_change_with_the_turn_secrets_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new secret counts from the next session on; each value's lifetime is the setting's."""
    path = write(tmp_path / "secret", "a-secret-of-the-turn-server\n")
    monkeypatch.setenv("CORDBOARD_ICE_SERVERS", "turn:h")
    monkeypatch.setenv("CORDBOARD_TURN_CREDENTIALS_S", "60")
    monkeypatch.setenv(f"{environment.TURN_SECRET}_FILE", str(path))
    loaded = settings.load()
    before, later = (loaded.ice_config("call-7", now) for now in (1000.9, 1001.9))
    assert before is not None
    assert before["iceServers"][0]["username"] == "1060:call-7"
    assert before != later
    write(path, "another-secret-of-that-server\n")
    after = loaded.ice_config("call-7", 1000.9)
    assert after is not None
    assert after["iceServers"][0]["username"] == "1060:call-7"
    assert after["iceServers"][0]["credential"] != before["iceServers"][0]["credential"]
    longer = loaded.ice_config("call-7", 1000, lifetime_s=7)
    assert longer is not None
    assert longer["iceServers"][0]["username"] == "1007:call-7"


@pytest.mark.parametrize(
    ("servers", "shared"),
    [
        ("turn:h, stun:h", '[{"urls": ["turn:h"]}, {"urls": ["stun:h"]}]'),
        ('{"urls": "turn:h", "username": "u", "credential": "p"}', None),
    ],
)
def test_runners_elsewhere_get_servers_without_passwords(
    servers: str, shared: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list without passwords goes to cold runners; one with passwords does not, nor does the secret."""
    monkeypatch.setenv("CORDBOARD_ICE_SERVERS", servers)
    monkeypatch.setenv(environment.TURN_SECRET, "secret")
    variables = settings.shared_environment(settings.load())
    assert variables == ({"CORDBOARD_ICE_SERVERS": shared} if shared else {})


def test_kubeconfig_files_are_the_existing_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All files of KUBECONFIG that are there; without it the one of the home directory."""
    one, two = (write(tmp_path / name, "") for name in ("one", "two"))
    monkeypatch.setenv("KUBECONFIG", f"{one}{os.pathsep}{tmp_path / 'none'}{os.pathsep}{two}")
    assert environment.kubeconfig_files() == (one, two)
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert environment.kubeconfig_files() == ()
    (tmp_path / ".kube").mkdir()
    home = write(tmp_path / ".kube" / "config", "")
    assert environment.kubeconfig_files() == (home,)


def test_settings_cannot_be_changed_or_misspelled() -> None:
    """No component changes a setting of another one, and an unknown name is an error."""
    loaded = settings.Settings(queue_max=5)
    with pytest.raises(FrozenInstanceError):
        loaded.queue_max = 6  # type: ignore[misc]  # that is the point
    with pytest.raises(TypeError, match="queue_maxx"):
        settings.Settings(queue_maxx=5)  # type: ignore[call-arg]  # that is the point


def test_error_about_a_type_shows_no_password(tmp_path: Path) -> None:
    """What is not wanted is shown, but for the password of a URL in it."""
    file = write(tmp_path / "cordboard.toml", 'redis_url = ["redis://:hunter/2@host"]\n')
    with pytest.raises(SettingsError, match="expected a string") as raised:
        settings.load(file)
    assert "hunter" not in str(raised.value)


@pytest.mark.parametrize("text", ["+5", "5.0", "1_0", " 5", "\u0665", "0", "-1", "x"])
def test_number_in_a_variable_is_written_in_digits(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """No other form of a number is accepted."""
    monkeypatch.setenv("CORDBOARD_QUEUE_MAX", text)
    with pytest.raises(
        SettingsError, match=r"CORDBOARD_QUEUE_MAX \(queue_max\): expected a number"
    ):
        settings.load()


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("True", True), ("1", True), ("false", False), ("0", False)]
)
def test_boolean_in_a_variable_is_true_or_false(
    monkeypatch: pytest.MonkeyPatch, text: str, value: bool
) -> None:
    """A manifest writes 1 or true, in any case of letters."""
    monkeypatch.setenv("CORDBOARD_OPEN_WEBSOCKETS", text)
    assert settings.load().open_websockets is value


@pytest.mark.parametrize("text", ["yes", "on", "2", " true"])
def test_other_words_are_no_booleans(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """No word is guessed."""
    monkeypatch.setenv("CORDBOARD_OPEN_WEBSOCKETS", text)
    with pytest.raises(
        SettingsError,
        match=r"CORDBOARD_OPEN_WEBSOCKETS \(open_websockets\): expected true or false",
    ):
        settings.load()


def test_list_in_a_variable_is_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blanks around a name, and empty names, do not count."""
    monkeypatch.setenv("CORDBOARD_DAILY_DOMAINS", "a.b, c.d,,")
    assert settings.load().daily_domains == ("a.b", "c.d")


def test_settings_show_no_password() -> None:
    """The URL of Redis may hold one."""
    assert "hunter2" not in repr(settings.Settings(redis_url="redis://:hunter2@host"))
