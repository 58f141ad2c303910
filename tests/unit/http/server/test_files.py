"""Sockets by the open files: at the setting, at the edge, and where there are next to none."""

from __future__ import annotations

import resource

import pytest

from holdfast.http.server import files


@pytest.mark.parametrize(
    ("most", "connections", "sockets"),
    [
        (resource.RLIM_INFINITY, 10_000, 10_128),
        (65_536, 10_000, 10_128),
        (20_000, 9_872, 10_000),
        (1024, 384, 512),
        (258, 1, 129),
        (256, 1, 128),
        (64, 1, 32),
        (1, 1, 1),
    ],
)
def test_sockets_leave_half_of_the_files_to_everything_else(
    most: int, connections: int, sockets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (most, most))
    assert files.connection_limit(10_000) == connections
    assert files.socket_limit(connections) == sockets
