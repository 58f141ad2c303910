"""A machine for each node, with a cable to everything else that can be pulled.

Strategy: the run has a network of its own, which the real one does not see, and each node a network
in a network: what crosses the cable between is real. Where that may not be made all share loopback,
and no cable can be pulled.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable

from tests.faults import namespaces

LOOPBACK = "127.0.0.1"
HERE = "10.77.0.1"
"""Where all but the nodes is, in the run's own network."""


def host() -> str:
    """The address of all but the nodes. To be called once, before there is a thread: from now on
    this process, and what it starts, is in the run's own network, if it may make one."""
    with contextlib.suppress(OSError):
        namespaces.unshare()
        namespaces.ip("link set lo up")
        namespaces.ip(f"addr add {HERE}/32 dev lo")
        return HERE
    return LOOPBACK


class Machine:
    """One of a node, `number` from 1. `enter` takes a process there, between fork and exec; None:
    there is nowhere to go, and no cable."""

    def __init__(self, number: int, here: str) -> None:
        self.host = LOOPBACK
        self.enter: Callable[[], None] | None = None
        self._namespace: int | None = None
        if here != LOOPBACK:
            self._build(number)

    def _build(self, number: int) -> None:
        near = f"10.77.{number}.1"
        self.host = f"10.77.{number}.2"
        self._cable = f"node{number}"
        self._namespace = there = namespaces.new()
        self.enter = functools.partial(namespaces.enter, there)
        end = f"/proc/self/fd/{there}"
        namespaces.ip(f"link add {self._cable} type veth peer name eth netns {end}", (there,))
        namespaces.ip(f"addr add {near}/30 dev {self._cable}")
        namespaces.ip(f"link set {self._cable} up")
        for words in (
            "link set lo up",
            f"addr add {self.host}/30 dev eth",
            "link set eth up",
            f"route add default via {near}",
        ):
            namespaces.within(there, functools.partial(namespaces.ip, words))

    def pull(self) -> None:
        """Nothing gets there any more, and nothing from there."""
        namespaces.ip(f"link set {self._cable} down")

    def plug(self) -> None:
        """As before."""
        namespaces.ip(f"link set {self._cable} up")

    def close(self) -> None:
        if self._namespace is not None:
            os.close(self._namespace)
