"""A URL is shown without its secrets, whatever its form."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cordboard.contract.errors import SettingsError
from cordboard.contract.redaction import redact
from cordboard.contract.urls import check_http_url, redacted_url
from cordboard.store import open_store

SCHEMES = ("redis", "rediss", "redis+sentinel", "redis+cluster", "rediss+cluster", "unix", "http")
# Unlike anything else in a message: whatever part of it is shown is found.
PASSWORD = st.text("/?#@:[]%&=+ \\\"'<>,;\n\tÄ℀µ𝔞", max_size=8).map(lambda text: f"Zq{text}xW9")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://:secret@127.0.0.1:6379/0", "redis://…@127.0.0.1:6379/0"),
        ("redis://:se/cret@127.0.0.1:6379/0", "redis://…@127.0.0.1:6379/0"),
        ("redis://:se?cret@127.0.0.1:6379/0", "redis://…@…"),
        ("redis://:secret", "redis://…"),
        ("rediss://host/0?password=secret", "rediss://host/0?…"),
        ("redis+sentinel://:pw@a:1,[::1]:2/main/0", "redis+sentinel://…@a:1,[::1]:2/main/0"),
        ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock?…"),
        ("https://user:pw@gateway.example/base", "https://…@gateway.example/base"),
        ("localhost:6379", "localhost:6379"),
    ],
)
def test_redacted_url_of_each_form(url: str, shown: str) -> None:
    """Scheme, hosts and path are shown; a user, a password and a query are not."""
    assert redacted_url(url) == shown


@given(st.sampled_from(SCHEMES), st.sampled_from(["", "user"]), PASSWORD)
@example("redis", "", "Zq/xW9")
@example("redis", "", "Zq@xW9")
def test_redacted_url_has_no_password(scheme: str, user: str, password: str) -> None:
    """Whatever is in a password, no piece of it is in what is shown or in an error."""
    for rest in ("host.example:6379/0", "a.example,b.example/main", "[::1]"):
        url = f"{scheme}://{user}:{password}@{rest}"
        assert "Zq" not in redacted_url(url)
        assert "xW9" not in redacted_url(url)
        assert not _pieces(url)
    assert "Zq" not in redacted_url(f"{scheme}://host/0?password={password}")
    assert not _pieces(f"{scheme}://host/0?password={password}")


def _pieces(url: str) -> list[str]:
    """Return the pieces of the password that an error of the store shows."""
    try:
        store = open_store(url)
    except SettingsError as error:
        return [piece for piece in ("Zq", "xW9") if piece in str(error)]
    return [piece for piece in ("Zq", "xW9") if piece in repr(store)]


@pytest.mark.parametrize("shape", ["redis://:{}@127.0.0.1:6379/0", "redis+cluster://:{}@a,b"])
@pytest.mark.parametrize("password", ["se/cret", "se?cret", "se#cret", "se[cret", "1/2"])
def test_unquoted_password_is_malformed(shape: str, password: str) -> None:
    """The error says how."""
    with pytest.raises(SettingsError, match="%2F %3F %23") as raised:
        open_store(shape.format(password))
    assert password not in str(raised.value)


def test_socket_path_may_contain_an_at_sign() -> None:
    """A path of a socket may hold what a URL of hosts may not."""
    assert "Store" in repr(open_store("unix:///home/ada@example/redis.sock?db=1"))


@given(st.sampled_from(["http", "https", "ftp"]), PASSWORD, st.booleans())
def test_error_about_http_url_has_no_password(scheme: str, password: str, may: bool) -> None:
    """Gateways, runners, Kubernetes and its proxies: a refused address is shown without its secret."""
    for rest in ("host.example:80/base", "[::1]", "host:nope"):
        url = f"{scheme}://user:{password}@{rest}"
        try:
            said = ""
            assert check_http_url("X", url, may_have_user=may) == url.rstrip("/")
            assert may
        except SettingsError as error:
            said = str(error)
        assert "Zq" not in said
        assert "xW9" not in said


@pytest.mark.parametrize("password", ["hunter2", "se/cret", "se?cret", "se#cret", "a:b"])
def test_log_line_has_no_password_of_a_url(password: str) -> None:
    """The writer of lines hides it, too, whatever is in it; a port and an address of mail stay."""
    said = redact(f"Asking redis://user:{password}@host:6379/0 again")
    assert said == "Asking redis://user:[redacted]@host:6379/0 again"
    plain = "http://host:8080/invite?to=ada@example.org"
    assert redact(plain) == plain
