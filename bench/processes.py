"""Programs under measurement: started, pinned to a core, weighed, stopped.

Strategy: a program lives exactly as long as a `with` block, so that an interrupted bench
leaves nothing running. What it used is read from /proc, for it and all its descendants.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

PATIENCE = 10.0
"""Seconds that a program has to open its port, and again to end after SIGTERM."""

HZ = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A step could not be measured; the message says why."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(
    command: Sequence[str], port: int, log: Path, core: int, cwd: Path | None = None
) -> Iterator[int]:
    """Starts a program on a core, waits until it listens on `port`, gives its pid, and ends it
    after the block. Its output goes to `log`. Raises `Failed`."""
    # Settings of whoever runs the bench must not reach what is measured.
    environ = {name: value for name, value in os.environ.items() if name[:9] != "HOLDFAST_"}
    pinned = ["taskset", "-c", str(core), *command]
    with log.open("wb") as out:
        process = subprocess.Popen(
            pinned, cwd=cwd, env=environ, stdout=out, stderr=out, start_new_session=True
        )
    try:
        _wait_until_ready(process, port, log)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(0.05)
    said = log.read_text(errors="replace").strip().splitlines()[-3:]
    raise Failed(f"{log.stem} does not listen on port {port}: {' / '.join(said) or 'no word'}")


def _tree(pid: int) -> Iterator[int]:
    """The process and all its descendants."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _tree(int(child))


def cpu_seconds(pid: int) -> float:
    """User and system time of the whole tree, in steps of 10 ms."""
    stats = [Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split() for one in _tree(pid)]
    return sum(int(stat[11]) + int(stat[12]) for stat in stats) / HZ


def memory_kb(pid: int) -> int:
    """Memory of the whole tree; what is shared counts in proportion (PSS)."""
    said = "".join(Path(f"/proc/{one}/smaps_rollup").read_text() for one in _tree(pid))
    return sum(map(int, re.findall(r"^Pss:\s+(\d+)", said, re.MULTILINE)))


def busy_seconds(core: int) -> float:
    """Time that a core was not idle since the machine's start, whoever used it."""
    said = re.search(rf"^cpu{core} (.*)$", Path("/proc/stat").read_text(), re.MULTILINE)
    user, nice, system, _idle, _waiting, irq, softirq, steal = map(
        int, said[1].split()[:8] if said else [0] * 8
    )
    return (user + nice + system + irq + softirq + steal) / HZ
