"""What is measured: our server, nginx, and the prototype of the load folder.

Strategy: a `Server` is a value that says how to start one and where to ask it for an answer;
all are asked in the same words, by the same load, for the same simulated provider's answer.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from bench import processes

BODY = b'{"model":"sim/sim","messages":[{"role":"user","content":"go"}]}'


@dataclass(frozen=True)
class Server:
    """`provider` is the port on which it expects the provider."""

    name: str
    command: tuple[str, ...]
    port: int
    provider: int
    path: str
    cwd: Path | None = None


def named(name: str, folder: Path, loadgen: Path) -> Server | None:
    """The server of this name, its files in `folder`; None where it is not installed."""
    if name == "nginx":
        return nginx(folder)
    return prototype(folder, loadgen) if name == "prototype" else holdfast(folder, "sqlite")


def holdfast(folder: Path, log: str) -> Server:
    """`holdfast serve` with default settings but for its port, log and provider; `log` is
    `sqlite`, a file in `folder`, or `memory`."""
    port, provider = processes.free_port(), processes.free_port()
    url = f"sqlite:///{folder / 'holdfast.db'}" if log == "sqlite" else "memory://"
    config = folder / "holdfast.toml"
    config.write_text(
        f'[server]\nport = {port}\n[log]\nurl = "{url}"\n'
        f'[providers.sim]\nkind = "openai_chat"\nbase_url = "http://127.0.0.1:{provider}/v1"\n'
        'api_key = "x"\nmodels = ["sim"]\n'
    )
    start = "from holdfast.cli import main; main()"
    command = (sys.executable, "-c", start, "serve", "--config", str(config))
    return Server("holdfast", command, port, provider, "/v1/streams")


def nginx(folder: Path) -> Server | None:
    """nginx as a relay that reads nothing; None where it is not installed."""
    # Debian puts servers where an ordinary user's PATH does not look.
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if program is None:
        return None
    port, provider = processes.free_port(), processes.free_port()
    text = Path(__file__).with_name("nginx.conf").read_text()
    config = folder / "nginx.conf"
    config.write_text(text.replace("@PORT@", str(port)).replace("@PROVIDER@", str(provider)))
    command = (program, "-e", "stderr", "-p", str(folder), "-c", str(config))
    return Server("nginx", command, port, provider, "/v1/chat/completions")


def prototype(folder: Path, loadgen: Path) -> Server:
    """The design's hot path and nothing else; 9001, the provider's port, is in its source."""
    port, database = processes.free_port(), f"DB={folder / 'prototype.db'}"
    uvicorn = (sys.executable, "-B", "-m", "uvicorn", "prototype:app", "--no-access-log")
    command = ("env", "LOG=sqlite", database, *uvicorn, "--port", str(port))
    command += ("--timeout-graceful-shutdown", "1")
    return Server("prototype", command, port, 9001, "/v1/streams", cwd=loadgen)
