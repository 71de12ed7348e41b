"""URLs and lists of ICE servers mean the same here, in aiortc and in Pipecat's runner."""

import json
from typing import Any

import pytest
from aiortc.rtcicetransport import parse_stun_turn_uri
from hypothesis import given
from hypothesis import strategies as st
from pipecat.runner.run import _parse_ice_servers as pipecat_parse

from cordboard.contract.ice import ice_servers_json, parse_ice_servers, parse_ice_url

HOSTS = st.one_of(
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z]{2,5}){0,2}", fullmatch=True),
    st.ip_addresses(v=4).map(str),
)
PORTS = st.one_of(st.just(""), st.integers(1, 65535).map(lambda port: f":{port}"))
STUN_URLS = st.builds("{}:{}{}".format, st.sampled_from(["stun", "stuns"]), HOSTS, PORTS)
TURN_URLS = st.builds(
    "{}:{}{}{}".format,
    st.sampled_from(["turn", "turns"]),
    HOSTS,
    PORTS,
    st.sampled_from(["", "?transport=udp", "?transport=tcp"]),
)
URLS = STUN_URLS | TURN_URLS
SECRET_TEXT = st.text(min_size=6, max_size=20).map(lambda text: f"Zq{text}xW9")
SERVERS = st.one_of(
    URLS,
    st.builds(lambda url: {"urls": url}, URLS),
    st.builds(
        lambda urls, username, credential: {
            "urls": urls, "username": username, "credential": credential,
        },
        st.lists(URLS, min_size=1, max_size=3), SECRET_TEXT, SECRET_TEXT,
    ),
)  # fmt: skip


@given(URLS)
def test_urls_mean_the_same_as_to_aiortc(text: str) -> None:
    """Host, port and transport are those that aiortc reads, and the URL's own form keeps them."""
    url = parse_ice_url(text)
    theirs = parse_stun_turn_uri(text)
    assert (url.scheme, url.host, url.port) == (theirs["scheme"], theirs["host"], theirs["port"])
    if url.is_turn:
        assert url.transport == theirs["transport"]
    assert parse_ice_url(str(url)) == url


@given(st.lists(SERVERS, max_size=5))
def test_pipecats_syntax_is_read_as_pipecat_reads_it(entries: list[Any]) -> None:
    """A JSON array in PIPECAT_ICE_SERVERS means the same servers here and there."""
    text = json.dumps(entries)
    ours = parse_ice_servers(text)
    theirs = pipecat_parse(text)
    assert [str(server.urls[0]) for server in ours] == [
        str(parse_ice_url(server["urls"] if isinstance(server["urls"], str) else server["urls"][0]))
        for server in theirs
    ]
    assert [(s.username, s.credential) for s in ours] == [
        (s.get("username"), s.get("credential")) for s in theirs
    ]
    assert parse_ice_servers(ice_servers_json(ours)) == ours


@pytest.mark.parametrize(
    "text",
    [
        "stun:a, turn:b ,",
        '["stun:a", {"urls": "turn:b"}]',
        '["stun:a", "{\\"urls\\": [\\"turn:b\\"]}"]',
    ],
)
def test_each_form_of_pipecats_syntax_is_read(text: str) -> None:
    """URLs separated by commas, a JSON array, and objects written as text inside one."""
    urls = [str(url) for server in parse_ice_servers(text) for url in server.urls]
    assert urls == ["stun:a", "turn:b"]
    assert [len(pipecat_parse(text)), len(parse_ice_servers(text))] == [2, 2]
