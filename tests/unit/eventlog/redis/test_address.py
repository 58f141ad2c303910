"""Where Redis is: what URLs say, and that no refusal repeats what may be a password."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from holdfast import errors
from holdfast.eventlog.redis import address

WAYS = {
    "redis://h": address.Address((("h", 6379),)),
    "redis://h:7/3": address.Address((("h", 7),), database=3),
    "redis://u:p%40%2F@h/": address.Address((("h", 6379),), "u", "p@/"),
    "redis://:p@h": address.Address((("h", 6379),), None, "p"),
    "rediss://h": address.Address((("h", 6379),), tls=True),
    "valkeys://h": address.Address((("h", 6379),), tls=True),
    "redis://[::1]:7": address.Address((("::1", 7),)),
    "redis://a,b:7,c": address.Address((("a", 6379), ("b", 7), ("c", 6379))),
    "redis+sentinel://a,b:7/main": address.Address((("a", 26379), ("b", 7)), service="main"),
    "rediss+sentinel://:p@a/main/2": address.Address(
        (("a", 26379),), None, "p", 2, tls=True, service="main"
    ),
    "redis+unix:///run/a%20b": address.Address((("localhost", 0),), path="/run/a b"),
}


@pytest.mark.parametrize("url", WAYS)
def test_each_way_to_write_it(url: str) -> None:
    assert address.parse(urlsplit(url)) == WAYS[url]


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://:secret@",
        "redis://:secret@h/x",
        "redis://:secret@h/-1",
        "redis://:secret@h/1/2",
        "redis://:secret@h:0",
        "redis://:secret@h:70000",
        "redis://:secret@a,,b",
        "redis://:secret@h?x=secret",
        "redis://:secret@h#secret",
        "redis+sentinel://:secret@a",
        "redis+sentinel://:secret@a/main/x",
        "redis+unix://secret/run",
        "redis+unix:///",
    ],
)
def test_what_cannot_be_used_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(errors.SettingsError, match=r"reads redis(://|\+unix)") as caught:
        address.parse(urlsplit(url))
    assert "secret" not in caught.value.message


def test_no_password_is_in_what_is_shown() -> None:
    shown = repr(address.parse(urlsplit("redis://user:secret@a,b:7/3")))
    assert shown == "a:6379,b:7"
