"""Requests: what is sent, and what cannot be made.

Strategy: tables of urls, headers and methods against the bytes that they become.
"""

from __future__ import annotations

import pytest

from holdfast import transport


def test_the_request_on_the_wire() -> None:
    request = transport.Request(
        "POST", "http://h.example:81/v1/chat?a=b#part", (("Authorization", "Bearer k"),), b"{}"
    )
    assert request.encode() == (
        b"POST /v1/chat?a=b HTTP/1.1\r\nHost: h.example:81\r\nAuthorization: Bearer k\r\n"
        b"User-Agent: holdfast\r\nAccept-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}"
    )


@pytest.mark.parametrize(
    ("url", "line", "host"),
    [
        ("http://h", b"GET / HTTP/1.1", b"Host: h"),
        ("https://h:443/", b"GET / HTTP/1.1", b"Host: h"),
        ("https://h:80/", b"GET / HTTP/1.1", b"Host: h:80"),
        ("http://[::1]:8080/a%20b?c", b"GET /a%20b?c HTTP/1.1", b"Host: [::1]:8080"),
        ("http://a_b.c-d.?/?#?", b"GET /?/? HTTP/1.1", b"Host: a_b.c-d."),
        ("http://h/a/@:b#c#d?e", b"GET /a/@:b HTTP/1.1", b"Host: h"),
    ],
)
def test_the_target_and_the_host(url: str, line: bytes, host: bytes) -> None:
    lines = transport.Request("GET", url, ()).encode().split(b"\r\n")
    assert lines[:2] == [line, host]
    assert lines[2:] == [b"User-Agent: holdfast", b"Accept-Encoding: identity", b"", b""]


@pytest.mark.parametrize(("method", "body"), [("POST", b""), ("DELETE", b"x"), ("PUT", b"xy")])
def test_the_length_of_the_body(method: str, body: bytes) -> None:
    wire = transport.Request(method, "http://h", (), body).encode()
    assert wire.endswith(b"\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


@pytest.mark.parametrize(
    "url",
    [
        "", "h.example/v1", "ftp://h/", "http://", "http:///v1", "http://:80/", "http://h:x/",
        "http://h:65536/", "http://[::1/", "http://a..b/", f"http://{'a' * 64}/", "http://a<b/",
        "http://user:secret@h/", "http://h/\r\nsecret: 1", "http://h/\n", "http://h/\0",
        "http://h/ x", "http://h/\u00e9", "http://h\t/", "http://secret\\@h/", "http://h:\u0661/",
        "http://h/#\n", "http://h?a\rb", "HTTPS://h/", "http://[::1]x/", "http://\u00e9/",
    ],
)  # fmt: skip
def test_a_bad_url_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(ValueError, match="url") as caught:
        transport.Request("GET", url, ())
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "header",
    [
        ("", "v"), ("a b", "v"), ("a:", "v"), ("a\r\nb", "v"), ("a\0", "v"), ("\u00e9", "v"),
        ("a", "secret\r\nb: c"), ("a", "secret\n"), ("a", "\rsecret"), ("a", "secret\0"),
        ("a", "secret\u2028"), ("Host", "secret"), ("content-length", "1"),
        ("Transfer-Encoding", "chunked"), ("Connection", "keep-alive"),
        ("accept-encoding", "gzip"),
    ],
)  # fmt: skip
def test_a_bad_header_is_refused_and_not_quoted(header: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=r"header|value") as caught:
        transport.Request("GET", "http://h/", (header,))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("method", ["", "get", "HEAD", "CONNECT", "GET / HTTP/1.1\r\nX:"])
def test_other_methods_are_refused(method: str) -> None:
    with pytest.raises(ValueError, match="method"):
        transport.Request(method, "http://h/", ())


def test_a_request_shows_no_secret() -> None:
    request = transport.Request("POST", "http://h/?key=secret", (("a", "secret"),), b"secret")
    assert repr(request) == "Request(POST h:80)"


def test_a_user_agent_of_the_caller_is_the_only_one() -> None:
    wire = transport.Request("GET", "http://h/", (("user-AGENT", "mine/1"),)).encode()
    assert wire.lower().count(b"user-agent:") == 1
    assert b"user-AGENT: mine/1\r\n" in wire


def test_without_keep_the_other_side_is_asked_to_close() -> None:
    request = transport.Request("GET", "http://h/", ())
    assert b"\r\nConnection: close\r\n" in request.encode(keep=False)
    assert b"Connection" not in request.encode(keep=True)


def test_for_a_proxy_the_target_is_absolute() -> None:
    request = transport.Request("GET", "http://[::1]:81/a?b", (("X-A", "1"),))
    wire = request.encode(absolute=True, hop=(("Proxy-Authorization", "Basic eA=="),))
    assert wire.split(b"\r\n")[:4] == [
        b"GET http://[::1]:81/a?b HTTP/1.1",
        b"Host: [::1]:81",
        b"Proxy-Authorization: Basic eA==",
        b"X-A: 1",
    ]


def test_requests_are_compared_by_what_they_say() -> None:
    one, other = (transport.Request("GET", "http://h/", ()) for _ in range(2))
    assert one.place is one.place  # taken apart once
    assert one == other
    assert hash(one) == hash(other)
    assert one != transport.Request("GET", "http://h/x", ())
