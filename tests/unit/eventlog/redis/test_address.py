"""Every form of a Redis URL is understood or refused, and no password is ever said."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from redis import exceptions
from tests import redis_servers

from holdfast import errors
from holdfast.eventlog import url
from holdfast.eventlog.redis import address

Address = address.Address
SECRET = "tell-nobody"


def parsed(text: str) -> address.Address:
    return address.parse(urlsplit(text))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("redis://h", Address((("h", 6379),))),
        ("redis://h:7", Address((("h", 7),))),
        ("redis://h/", Address((("h", 6379),))),
        ("valkey://h:7/3", Address((("h", 7),), database=3)),
        ("rediss://h", Address((("h", 6379),), tls=True)),
        ("valkeys://h", Address((("h", 6379),), tls=True)),
        ("redis://a,b:7,c", Address((("a", 6379), ("b", 7), ("c", 6379)))),
        ("redis://[::1]", Address((("::1", 6379),))),
        ("redis://[::1]:7,[fe80::2]", Address((("::1", 7), ("fe80::2", 6379)))),
        ("redis://:pw@h", Address((("h", 6379),), password="pw")),
        ("redis://u:pw@h", Address((("h", 6379),), user="u", password="pw")),
        ("redis://u:p%40%2F%3A%25@h/2", Address((("h", 6379),), "u", "p@/:%", 2)),
        ("redis://u:p@:q@h", Address((("h", 6379),), "u", "p@:q")),
        ("redis+sentinel://h/main", Address((("h", 26379),), service="main")),
        (
            "redis+sentinel://u:pw@a,b:7/the%20one/4",
            Address((("a", 26379), ("b", 7)), "u", "pw", 4, service="the one"),
        ),
        ("rediss+sentinel://h/main", Address((("h", 26379),), tls=True, service="main")),
        ("redis+unix:///run/a%20b.sock", Address((("localhost", 0),), path="/run/a b.sock")),
    ],
)
def test_what_a_url_says(text: str, wanted: address.Address) -> None:
    assert parsed(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "redis://",
        "redis:///0",
        "redis://h:0",
        "redis://h:65536",
        "redis://h:",
        "redis://h:x",
        "redis://:tell-nobody",
        "redis://u:tell-nobody/x@h",
        "redis://::1",
        "redis://[::1",
        "redis://h,",
        "redis://h,:7",
        "redis://h/x",
        "redis://h/-1",
        "redis://h/1/2",
        "redis://u:tell-nobody@h/x",
        "redis://u:tell-nobody@h/1?ssl=no",
        "redis://u:tell-nobody@h#1",
        "redis://u:tell-nobody@h:x",
        "redis+sentinel://h",
        "redis+sentinel://u:tell-nobody@h/",
        "redis+sentinel://h/main/x",
        "redis+sentinel://h/main/1/2",
        "redis+unix://",
        "redis+unix:///",
        "redis+unix://u:tell-nobody@h/run/x",
    ],
)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(errors.SettingsError) as caught:
        url.open_log(text)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("text", ["redis://u:{}@h:7", "redis+sentinel://:{}@a,b/main"])
def test_no_password_is_shown(text: str) -> None:
    where = parsed(text.format(SECRET))
    assert where.password == SECRET
    for shown in (repr(where), str(where), f"{where}", f"{where!r}"):
        assert SECRET not in shown


def test_a_socket_is_shown_as_its_path() -> None:
    assert repr(parsed("redis+unix:///run/x")) == "/run/x"


async def test_no_sentinel_that_answers_is_told_without_a_password() -> None:
    where = Address((("127.0.0.1", 1),), None, SECRET, service="main")
    with pytest.raises(exceptions.ConnectionError, match=r"127\.0\.0\.1:1 knows 'main'") as caught:
        await where.primary()
    assert SECRET not in str(caught.value)


async def test_without_sentinels_the_first_host_is_the_primary(
    valkey: redis_servers.Server,
) -> None:
    connection = await parsed(f"redis://127.0.0.1:{valkey.port},b:2").primary()
    try:
        await connection.send_command("INFO", "server")
        assert f"tcp_port:{valkey.port}\r\n".encode() in await connection.read_response()
    finally:
        await connection.disconnect(nowait=True)
