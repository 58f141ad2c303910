"""A server and a client on two machines with a cable that can be pulled.

Strategy: two network namespaces of this process with a veth pair between them. So the server under
test and its client are real and in this process, what crosses the cable is real, and the network
of the machine is untouched.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

from tests import conftest
from tests.faults import namespaces

SERVER, CLIENT = "10.0.0.1", "10.0.0.2"


class Cable:
    """`listener` listens at the server's end; `connect` gives sockets at the client's."""

    def __init__(self) -> None:
        """Raises `OSError` where namespaces or `ip` are not to be had."""
        with contextlib.ExitStack() as opened:
            self._server = namespaces.new()
            opened.callback(os.close, self._server)
            self._client = namespaces.new()
            opened.callback(os.close, self._client)
            peer = f"/proc/self/fd/{self._server}"
            self._ip(self._client, f"link add far type veth peer name near netns {peer}")
            for end, name, address in (
                (self._server, "near", SERVER),
                (self._client, "far", CLIENT),
            ):
                self._ip(end, f"addr add {address}/24 dev {name}")
                self._ip(end, f"link set {name} up")
            self.listener = namespaces.within(self._server, listen)
            opened.pop_all()

    def connect(self) -> socket.socket:
        """A new connection, as a socket that does not block."""
        address = self.listener.getsockname()

        def reach() -> socket.socket:
            made = socket.create_connection(address, timeout=10)
            made.setblocking(False)
            return made

        return namespaces.within(self._client, reach)

    def pull(self) -> None:
        """Nothing reaches the client's side any more, and nothing comes from there."""
        self._ip(self._client, "link set far down")

    def plug(self) -> None:
        """As before."""
        self._ip(self._client, "link set far up")

    def close(self) -> None:
        """Lets go of all but open sockets."""
        self.listener.close()
        os.close(self._server)
        os.close(self._client)

    def _ip(self, end: int, words: str) -> None:
        namespaces.within(end, lambda: namespaces.ip(words, (self._server,)))


@contextlib.contextmanager
def cable() -> Iterator[Cable]:
    """A cable for a test, which is skipped where there can be none."""
    try:
        made = Cable()
    except OSError as error:
        conftest.missing("namespaces", f"no network namespaces can be made ({error.strerror})")
    try:
        yield made
    finally:
        made.close()


def listen() -> socket.socket:
    """At the server's address, in this thread's namespace."""
    made = socket.create_server((SERVER, 0), backlog=100)
    made.setblocking(False)
    return made
