"""A server and a client on two machines with a cable that can be pulled.

Strategy: two network namespaces of this process with a veth pair between them; a socket belongs
to the namespace of the thread that makes it, wherever it is used. So the server under test and
its client are real and in this process, what crosses the cable is real, and the network of the
machine is untouched. The namespaces go with their last socket. Needs Linux, the right to make
namespaces, and `ip`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from tests import conftest

SERVER, CLIENT = "10.0.0.1", "10.0.0.2"

_CLONE_NEWNET = 0x40000000

T = TypeVar("T")


class Cable:
    """`listener` listens at the server's end; `connect` gives sockets at the client's."""

    def __init__(self) -> None:
        """Raises `OSError` where namespaces or `ip` are not to be had."""
        with contextlib.ExitStack() as opened:
            self._server = _new()
            opened.callback(os.close, self._server)
            self._client = _new()
            opened.callback(os.close, self._client)
            peer = f"/proc/self/fd/{self._server}"
            self._ip(self._client, f"link add far type veth peer name near netns {peer}")
            for end, name, address in (
                (self._server, "near", SERVER),
                (self._client, "far", CLIENT),
            ):
                self._ip(end, f"addr add {address}/24 dev {name}")
                self._ip(end, f"link set {name} up")
            self.listener = _within(self._server, _listen)
            opened.pop_all()

    def connect(self) -> socket.socket:
        """A new connection, as a socket that does not block."""
        address = self.listener.getsockname()

        def reach() -> socket.socket:
            made = socket.create_connection(address, timeout=10)
            made.setblocking(False)
            return made

        return _within(self._client, reach)

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
        _within(end, lambda: _run(["ip", *words.split()], (self._server,)))


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


def _listen() -> socket.socket:
    made = socket.create_server((SERVER, 0), backlog=100)
    made.setblocking(False)
    return made


def _run(command: list[str], passed: tuple[int, ...]) -> None:
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    environ = {**os.environ, "PATH": path}
    done = subprocess.run(
        command, env=environ, pass_fds=passed, capture_output=True, text=True, timeout=10
    )
    if done.returncode:
        raise OSError(done.returncode, f"{' '.join(command)}: {done.stderr.strip()}")


def _new() -> int:
    """A descriptor of a new namespace."""

    def make() -> int:
        _checked(ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET))
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    return _in_a_thread(make)


def _within(namespace: int, work: Callable[[], T]) -> T:
    """What `work` gives or raises in a namespace."""

    def enter() -> T:
        _checked(ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET))
        return work()

    return _in_a_thread(enter)


def _checked(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _in_a_thread(work: Callable[[], T]) -> T:
    """A thread of its own, which takes its namespace along when it ends."""
    found: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:  # raised again by whoever waits
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]
