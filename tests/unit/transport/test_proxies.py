"""Which proxy is chosen, and how one is asked: tables, without I/O.

Strategy: the cases of `no` are those that Go's httpproxy documents, one row each.
"""

from __future__ import annotations

import pytest
from tests.unit.transport.peers import one_byte_each

from holdfast import errors, transport
from holdfast.transport import proxies

HTTP, HTTPS = "http://plain:3128", "http://tunnel:3129"


def test_each_scheme_has_its_own() -> None:
    chosen = transport.Proxies(HTTP, HTTPS)
    assert chosen.choose(False, "h.test", 80) == proxies.Proxy(False, "plain", 3128)
    assert chosen.choose(True, "h.test", 443) == proxies.Proxy(False, "tunnel", 3129)
    assert transport.Proxies().choose(True, "h.test", 443) is None
    assert transport.Proxies(https="", http="p").choose(True, "h.test", 443) is None


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("proxy", proxies.Proxy(False, "proxy", 80)),
        ("proxy.test:3128", proxies.Proxy(False, "proxy.test", 3128)),
        ("HTTP://10.0.0.1:81/", proxies.Proxy(False, "10.0.0.1", 81)),
        ("https://proxy", proxies.Proxy(True, "proxy", 443)),
        ("http://[::1]:3128", proxies.Proxy(False, "::1", 3128)),
        ("http://user:pass@p:1", proxies.Proxy(False, "p", 1, "Basic dXNlcjpwYXNz")),
        ("http://a%40b:p%3A%C3%A9@p:1", proxies.Proxy(False, "p", 1, "Basic YUBiOnA6w6k=")),
        ("user@p", proxies.Proxy(False, "p", 80, "Basic dXNlcjo=")),
    ],
)
def test_the_url_of_a_proxy(url: str, proxy: proxies.Proxy) -> None:
    assert transport.Proxies(http=url).choose(False, "h.test", 80) == proxy


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("socks5://secret@h:1", "SOCKS"), ("SOCKS4a://h", "SOCKS"), ("ftp://secret@h", "http"),
        ("http://secret@h:0", "http"), ("http://secret@h:65536", "http"), ("http://", "http"),
        ("http://h/secret", "http"), ("http://a:secret @h", "http"), ("http://h\r\nsecret", "http"),
        ("http://h:secret", "http"), ("http://secret..h", "http"), ("http://é", "http"),
    ],
)  # fmt: skip
def test_a_bad_proxy_is_refused_and_not_quoted(url: str, text: str) -> None:
    for name, values in (("http", (url, None)), ("https", (None, url))):
        with pytest.raises(errors.SettingsError, match=text) as caught:
            transport.Proxies(*values)
        assert f"for {name} " in caught.value.message
        assert "secret" not in caught.value.message


def test_nothing_shows_credentials() -> None:
    chosen = transport.Proxies("http://me:secret@p", "http://me:secret@q", ("x",))
    assert repr(chosen) == "Proxies(http=Proxy(p:80), https=Proxy(q:80), no=('x',))"


@pytest.mark.parametrize(
    ("entry", "direct", "proxied"),
    [
        ("", [], ["h.test", "10.0.0.1"]),
        ("*", ["h.test", "10.0.0.1", "2001:db8::1"], []),
        ("h.test", ["h.test", "H.TEST", "a.h.test", "b.a.h.test", "h.test."], ["xh.test", "test"]),
        (" H.Test ", ["h.test"], []),
        (".h.test", ["a.h.test"], ["h.test", "xh.test"]),
        ("*.h.test", ["a.h.test"], ["h.test"]),
        ("*h.test", [], ["h.test", "xh.test"]),
        ("h.test:443", ["h.test", "a.h.test"], []),
        ("h.test:80", [], ["h.test", "a.h.test"]),
        ("10.1.2.3", ["10.1.2.3", "::ffff:10.1.2.3"], ["10.1.2.4", "x10.1.2.3"]),
        ("10.1.2.3:443", ["10.1.2.3"], []),
        ("10.1.2.3:80", [], ["10.1.2.3"]),
        ("10.0.0.0/8", ["10.1.2.3"], ["11.0.0.1", "h.test"]),
        ("10.1.2.3/8", ["10.9.9.9"], []),
        ("2001:db8::/32", ["2001:db8::1"], ["2001:db9::1", "10.0.0.1"]),
        ("2001:db8::1", ["2001:db8::1", "2001:DB8:0::1"], ["2001:db8::2"]),
        ("[2001:db8::1]", ["2001:db8::1"], []),
        ("[2001:db8::1]:443", ["2001:db8::1"], []),
        ("[2001:db8::1]:80", [], ["2001:db8::1"]),
        ("1.2", [], ["10.0.1.2"]),
        (":443", [], ["h.test"]),
        (".", [], ["h.test"]),
        ("h.test/8", [], ["h.test"]),
    ],
)
def test_what_needs_no_proxy(entry: str, direct: list[str], proxied: list[str]) -> None:
    chosen = transport.Proxies(HTTP, HTTPS, ("other.test", entry))
    assert [host for host in direct if chosen.choose(True, host, 443) is not None] == []
    assert [host for host in proxied if chosen.choose(True, host, 443) is None] == []


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "127.0.0.1", "127.9.9.9", "::1"])
def test_this_machine_is_always_reached_directly(host: str) -> None:
    chosen = transport.Proxies(HTTP, HTTPS)
    assert chosen.choose(True, host, 443) is None
    assert chosen.choose(False, host, 80) is None
    assert chosen.choose(True, f"x{host}.test", 443) is not None


def test_the_head_that_asks_for_a_tunnel() -> None:
    plain, known = proxies.Proxy(False, "p", 1), proxies.Proxy(False, "p", 1, "Basic eDp5")
    assert proxies.connect(plain, "h.test", 443) == (
        b"CONNECT h.test:443 HTTP/1.1\r\nHost: h.test:443\r\nUser-Agent: holdfast\r\n\r\n"
    )
    assert proxies.connect(known, "::1", 8443) == (
        b"CONNECT [::1]:8443 HTTP/1.1\r\nHost: [::1]:8443\r\nUser-Agent: holdfast\r\n"
        b"Proxy-Authorization: Basic eDp5\r\n\r\n"
    )


def answered(slices: list[bytes], max_head: int = 200) -> int | None:
    answer = proxies.Answer(max_head)
    for part in slices:
        status = answer.feed(part)
        if status is not None:
            return status
    return None


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", 200),
        (b"HTTP/1.0 200 Connection established\r\nA: b\r\n\r\n", 200),
        (b"HTTP/1.1 299\r\n\r\n", 299),
        (b"HTTP/1.1 407 Who\r\nContent-Length: 2\r\n\r\nno", 407),
        (b"HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 502 Bad\r\n\r\n", 502),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n", None),
        (b"", None),
    ],
)
def test_the_answer_of_a_proxy(data: bytes, status: int | None) -> None:
    assert answered([data]) == status
    assert answered(one_byte_each(data)) == status
    for cut in range(len(data)):
        assert answered([data[:cut], data[cut:]]) == status


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"SSH-2.0-x\r\n", "does not answer as"),
        (b"\r\n\r\n", "does not answer as"),
        (b"HTTP/2 200\r\n\r\n", "does not answer as"),
        (b"HTTP/1.1 20x OK\r\n\r\n", "does not answer as"),
        (b"HTTP/1.1 101 Up\r\n\r\n", "status 101"),
        (b"HTTP/1.1 099 Low\r\n\r\n", "status 99"),
        (b"HTTP/1.1 200 OK\r\n" + b"x" * 200, "over 200 bytes"),
        (b"x" * 201, "over 200 bytes"),
        (b"HTTP/1.1 100 Go on\r\n\r\n" * 20, "over 200 bytes"),
    ],
)
def test_what_no_proxy_answers(data: bytes, text: str) -> None:
    for slices in ([data], one_byte_each(data)):
        with pytest.raises(errors.ProtocolViolation, match=text):
            answered(slices)


def test_nothing_may_follow_an_open_tunnel_unasked() -> None:
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    for data, limit in ((head + b"\x16", 200), (head + b"x", len(head))):
        with pytest.raises(errors.ProtocolViolation, match="goes on"):
            answered([data], limit)
