"""Heads that are refused, each beside the nearest one that is taken; and the answer's bytes."""

from __future__ import annotations

import http

import pytest

from holdfast.http.server import framing

Fields = list[tuple[bytes, bytes]]
HOST = (b"host", b"localhost:8080")
LENGTH = (b"content-length", b"7")
CHUNKED = (b"transfer-encoding", b"chunked")


def status(
    fields: Fields, version: str = "1.1", target: bytes = b"/healthz", upgrade: bool = False
) -> int | None:
    found = framing.refusal(version, target, fields, upgrade)
    return None if found is None else found.status


@pytest.mark.parametrize(
    ("version", "wanted"),
    [("1.1", None), ("1.0", None), ("0.9", 505), ("2.0", 505), ("1.2", 505), ("", 505)],
)
def test_versions(version: str, wanted: int | None) -> None:
    assert status([HOST], version) == wanted


@pytest.mark.parametrize(
    ("target", "wanted"), [(b"/a?b", None), (b"*", None), (b"/a#b", 400), (b"/a?b#c", 400)]
)
def test_targets(target: bytes, wanted: int | None) -> None:
    assert status([HOST], target=target) == wanted


TAKEN = [
    *(b"", b"x", b"x:80", b"x:", b"my_service", b"a.example.", b"10.0.0.1:1", b"~x"),
    *(b"[::1]", b"[::1]:8080", b"[fe80::1%25eth0]:80", b" x\t"),
]
ODD = [
    *(b"a@b", b"x#@y", b"a/b", b"a?b", b"a b", b"a,b", b"a\\b", b"a:b", b"a:80:80", b"a:123456"),
    *(
        b"\xff",
        b"\xc3\xa9.example",
        b"::1",
        b"[::1",
        b"[]",
        b"[::1]x",
        b"http://x",
        b"<x>",
        b"a%40b",
    ),
]


@pytest.mark.parametrize("host", TAKEN)
def test_hosts_that_are_taken(host: bytes) -> None:
    assert status([(b"host", host)]) is None


@pytest.mark.parametrize("host", ODD)
def test_odd_hosts(host: bytes) -> None:
    assert status([(b"host", host)]) == 400


def test_one_host_at_most() -> None:
    assert status([]) is None
    assert status([HOST, HOST]) == 400
    assert status([HOST, (b"host", b"other")], version="1.0") == 400


def test_one_authorization_at_most() -> None:
    caller = (b"authorization", b"Bearer x")
    assert status([HOST, caller]) is None
    assert status([HOST, caller, caller]) == 400
    assert status([caller, HOST, (b"authorization", b"")], version="1.0") == 400


@pytest.mark.parametrize(
    ("coding", "wanted"),
    [
        (b"chunked", None),
        (b" Chunked\t", None),
        (b"gzip, chunked", 400),
        (b"chunked, identity", 400),
        (b"identity", 400),
        (b"xchunked", 400),
        (b'"chunked"', 400),
        (b"", 400),
    ],
)
def test_codings(coding: bytes, wanted: int | None) -> None:
    assert status([HOST, (b"transfer-encoding", coding)]) == wanted


def test_chunks_are_of_http_1_1() -> None:
    assert status([HOST, CHUNKED], version="1.0") == 400
    assert status([HOST, LENGTH], version="1.0") is None


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        (LENGTH, 400),
        (CHUNKED, 400),
        ((b"content-length", b" 00 "), None),
        ((b"content-length", b"070"), 400),
        ((b"x-other", b"7"), None),
    ],
)
def test_a_body_that_the_parser_would_lose(field: tuple[bytes, bytes], wanted: int | None) -> None:
    assert status([HOST, field], upgrade=True) == wanted
    assert status([HOST, field]) is None


@pytest.mark.parametrize("refusal", [framing.MALFORMED, framing.TOO_LARGE])
def test_the_answer_is_whole(refusal: framing.Refusal) -> None:
    head, _, body = framing.answer(refusal).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    assert first == f"HTTP/1.1 {refusal.status} {http.HTTPStatus(refusal.status).phrase}"
    assert int(fields["content-length"]) == len(body) > 0
    assert (fields["connection"], fields["cache-control"]) == ("close", "no-store")
    assert fields["x-content-type-options"] == "nosniff"
