"""Network namespaces of Linux: networks of a test's own, which the machine's does not see.

Strategy: a namespace is a descriptor, and is gone with its last one and its last socket. A socket
belongs to the namespace of the thread that makes it, wherever it is used, and a process to the one
that it was begun in. Needs the right to make namespaces, and `ip`.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable
from typing import TypeVar

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

T = TypeVar("T")


def new() -> int:
    """A descriptor of a new namespace. Raises `OSError`."""

    def make() -> int:
        unshare()
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    return _in_a_thread(make)


def unshare() -> None:
    """From now on this thread, and what it starts, has a network of its own, without any way out.
    Raises `OSError`."""
    _checked(_libc.unshare(_CLONE_NEWNET))


def enter(namespace: int) -> None:
    """The same, in a namespace that there is; also for a child process between fork and exec."""
    _checked(_libc.setns(namespace, _CLONE_NEWNET))


def within(namespace: int, work: Callable[[], T]) -> T:
    """What `work` gives or raises in a namespace."""

    def run() -> T:
        enter(namespace)
        return work()

    return _in_a_thread(run)


def ip(words: str, passed: tuple[int, ...] = ()) -> None:
    """Runs `ip` here; `passed` are descriptors that it needs. Raises `OSError`."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    done = subprocess.run(
        ["ip", *words.split()],
        env={**os.environ, "PATH": path},
        pass_fds=passed,
        capture_output=True,
        text=True,
        timeout=10,
    )
    if done.returncode:
        raise OSError(done.returncode, f"ip {words}: {done.stderr.strip()}")


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
