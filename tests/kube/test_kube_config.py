"""kubeconfig files, as kubectl reads them."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from cordboard.contract.errors import SettingsError
from cordboard.kube import open_kube
from cordboard.kube.config import merge_kubeconfigs


def write(file: Path, **table: Any) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(msgspec.json.encode(table))
    return file


def config(name: str, **user: Any) -> dict[str, Any]:
    return {
        "clusters": [{"name": name, "cluster": {"server": f"http://{name}.invalid"}}],
        "users": [{"name": name, "user": user}],
        "contexts": [
            {"name": name, "context": {"cluster": name, "user": name, "namespace": f"in-{name}"}}
        ],
    }


async def test_first_file_with_an_entry_wins(tmp_path: Path) -> None:
    """Of several files the first to name a thing wins; contexts of all can be chosen."""
    one = write(tmp_path / "one", **config("a", token="first"))
    two = write(tmp_path / "two", **config("a", token="second"), **{"current-context": "b"})
    three = write(tmp_path / "three", **config("b"), **{"current-context": "a"})
    files = [one, two, three]
    assert merge_kubeconfigs(files)["users"][0]["user"] == {"token": "first"}
    assert (open_kube(files).name, open_kube(files).namespace) == ("b", "in-b")
    assert open_kube(files, context="a").namespace == "in-a"
    assert open_kube(files, context="a", namespace="x").namespace == "x"


def test_paths_are_relative_to_their_file(tmp_path: Path) -> None:
    """A path is relative to the file that it stands in."""
    user = {"client-certificate": "pki/c.pem", "client-key": "/abs/k.pem", "tokenFile": "t"}
    found = merge_kubeconfigs([write(tmp_path / "deep" / "config", **config("a", **user))])[
        "users"
    ][0]["user"]
    assert found["client-certificate"] == str(tmp_path / "deep" / "pki" / "c.pem")
    assert found["client-key"] == "/abs/k.pem"
    assert found["tokenFile"] == str(tmp_path / "deep" / "t")


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
async def test_login_command_of_each_version_works(tmp_path: Path, version: str) -> None:
    """A login by a command works whichever version of the interface the file names."""
    login = {
        "apiVersion": f"client.authentication.k8s.io/{version}",
        "command": "sh",
        "args": ["-c", """echo '{"status": {"token": "secret"}}'"""],
    }
    import httpx2

    file = write(tmp_path / "f", **config("a", exec=login), **{"current-context": "a"})
    kube = open_kube([file])
    request = httpx2.Request("GET", "http://x")
    auth = kube._client._client._auth
    assert auth is not None
    ready = await anext(auth.async_auth_flow(request))
    assert ready.headers["Authorization"] == "Bearer secret"
    await kube.close()


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "'clusters' is missing|No current context"),
        ({**config("a"), "current-context": "b"}, "Context 'b' not found"),
        (
            {**config("a", **{"auth-provider": {"name": "x"}}), "current-context": "a"},
            "auth-provider",
        ),
    ],
)
def test_invalid_configuration_is_named_with_its_file(
    tmp_path: Path, table: dict[str, Any], words: str
) -> None:
    """A configuration that cannot be used is named with its file."""
    with pytest.raises(SettingsError, match=words) as caught:
        open_kube([write(tmp_path / "f", **table)])
    assert str(tmp_path / "f") in caught.value.hint


def test_file_that_is_not_yaml_is_named(tmp_path: Path) -> None:
    """What is no YAML is refused by its name."""
    (tmp_path / "f").write_text("a: [")
    with pytest.raises(SettingsError, match=r"f is not YAML"):
        open_kube([tmp_path / "f"])


def test_without_kubeconfig_the_error_says_where_to_get_one() -> None:
    """Without a file, outside of a cluster, the error says where to get one."""
    with pytest.raises(SettingsError, match="no kubeconfig") as caught:
        open_kube([])
    assert "KUBECONFIG" in caught.value.hint


@pytest.mark.parametrize("password", ["se/cret", "se?cret", "se#cret", "se[cret"])
def test_no_message_contains_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    """The API's address, and a proxy's of the file or the environment: what is odd is told without."""
    address = f"http://user:{password}@proxy.invalid:1"
    plain = config("a")
    server, proxy = config("a"), config("a")
    server["clusters"][0]["cluster"]["server"] = address
    proxy["clusters"][0]["cluster"]["proxy-url"] = address
    for table, variable in ((server, {}), (proxy, {}), (plain, {"http_proxy": address})):
        for name, value in variable.items():
            monkeypatch.setenv(name, value)
        file = write(tmp_path / "config", **table, **{"current-context": "a"})
        with pytest.raises(SettingsError) as raised:
            open_kube([file])
        assert "cret" not in str(raised.value)
        assert "%2F %3F %23" in str(raised.value)
