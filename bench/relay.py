"""A thousand streams: what a token costs, beside nginx in the same run.

Strategy: the load pair (a simulated provider and a client, both in C) stamps each token with
its number and time, so one client counts tokens, gaps and waits behind any relay. A relay is
freshly started on its core; the pair and the bench share the other one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from bench import servers
from bench.scenario import OUT, Bench

RATE, TOKENS = 20, 200
"""Tokens a second and tokens of a stream; the load opens a new one where one has ended."""

WARM, SETTLED = 1.0, 0.3
"""Seconds from open port to load; the share of a run after which all streams are open."""


class Run(NamedTuple):
    """One relay under the load. CPU microseconds are per token: `cpu_us` over the whole run,
    the opening of streams included, `settled_us` without its first 30 %. `others` is the
    share of the relay's core that went to programs outside the bench, `provider` that of the
    load's core that went to the simulated provider, `load` to it and the client."""

    relay: str
    cpu_us: float
    settled_us: float
    tokens_per_s: float
    p50_ms: float
    p99_ms: float
    kb_per_stream: float
    gaps: int
    failed: int
    others: float
    provider: float
    load: float
    streams_per_tick: float | None = None


def loadgen() -> Path | None:
    """The folder of the load pair's sources; None where it is not there."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("HOLDFAST_SHARED", beside)) / "loadgen"
    return folder if (folder / "llmsim.c").is_file() else None


def compile_pair(sources: Path, out: Path) -> bool:
    """Builds both programs into `out`; False without a C compiler."""
    if shutil.which("cc") is None:
        return False
    for name in ("llmsim", "sseload"):
        command = ["cc", "-O2", "-w", "-o", str(out / name), str(sources / f"{name}.c")]
        subprocess.run(command, check=True)
    return True


def simulator(pair: Path, port: int, rate: int = RATE) -> Sequence[str]:
    """The command of the pair's provider, which speaks chat completions."""
    return (str(pair / "llmsim"), str(port), str(TOKENS), str(1_000_000 // rate))


Make = Callable[[str, Path, contextlib.ExitStack], servers.Server | None]
"""The server of this name, whose files go into the folder; what must run beside it goes at the
stack's end. None where it is not installed."""


def in_turn(bench: Bench, names: Sequence[str], make: Make) -> list[Run]:
    """The load on each of these servers, in turn; nothing, and said so, without a load."""
    sources = loadgen()
    if sources is None or not compile_pair(sources, OUT):
        why = "C compiler (cc)" if sources else "load pair (HOLDFAST_SHARED/loadgen)"
        bench.skip("all of it", f"there is no {why} here")
        return []
    size = bench.size
    bench.say(f"{size.streams} streams of {size.rate} tokens/s, {size.rounds} rounds ...")
    runs: list[Run] = []
    for number, name in bench.turns(names):
        with bench.folder() as folder, contextlib.ExitStack() as kept:
            server = make(name, folder, kept)
            if server is None:
                bench.skip(name, "it is not installed")
                continue
            provider = simulator(OUT, server.provider, size.rate)
            run = measure(server, provider, size.streams, size.seconds, folder, list(bench.cores))
        runs.append(run)
        bench.say(line(number, run))
    return runs


def line(number: int, run: Run) -> str:
    """A line of progress."""
    return (
        f"round {number}: {run.relay} {run.cpu_us:.1f} µs/token, p99 {run.p99_ms:.0f} ms,"
        f" {run.tokens_per_s:.0f} tokens/s, gaps {run.gaps}, others {run.others:.0%}"
    )


def measure(
    server: servers.Server,
    provider: Sequence[str],
    streams: int,
    seconds: int,
    folder: Path,
    cores: list[int],
) -> Run:
    """One run, some seconds longer than `seconds`. `provider` is the command of the simulated
    one; the pair is beside `folder`, which takes all other files. `cores`: the relay's and the
    load's. Raises `servers.Failed`."""
    body, log, pair = folder / "body.json", folder / f"{server.name}.log", folder.parent
    body.write_bytes(server.body)
    client = [str(pair / "sseload"), str(server.port), server.path, str(streams), str(seconds)]
    client += [str(body), *server.headers]
    with servers.running(provider, server.provider, folder / "provider.log", cores[1]) as other:
        with servers.running(server.command, server.port, log, cores[0]) as pid:
            time.sleep(WARM)
            run = _observe(server.name, client, streams, seconds, (pid, other), cores[0])
        ended = log.read_text(errors="replace").rpartition("node_stopped")[2]
    told = re.findall(r'(ticks|batches)"?[=:] ?(\d+)', ended)
    counts = {name: int(count) for name, count in told}
    wide = counts["batches"] / max(1, counts["ticks"]) if len(counts) == 2 else None
    return run._replace(streams_per_tick=wide)


def _observe(
    name: str, client: list[str], streams: int, seconds: int, pids: tuple[int, int], core: int
) -> Run:
    """Runs the client; `pids` are the relay's, which is on this core, and the provider's."""
    pid, provider = pids
    memory, begun = servers.memory_kb(pid), time.monotonic()
    spoken, read = servers.cpu_seconds(provider), _reaped_seconds()
    cpu, busy = servers.cpu_seconds(pid), servers.busy_seconds(core)
    with subprocess.Popen(client, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as running:
        try:
            time.sleep(seconds * SETTLED)
            settled = servers.cpu_seconds(pid)
            time.sleep(seconds * (1 - SETTLED) - 1)
            memory = servers.memory_kb(pid) - memory
            said = running.communicate(timeout=30)[0]
        finally:
            running.kill()
    end, passed = servers.cpu_seconds(pid), time.monotonic() - begun
    spoken, read = servers.cpu_seconds(provider) - spoken, _reaped_seconds() - read
    got = json.loads(said)
    if not got["tokens"]:
        raise servers.Failed(f"{name}: not one token came through: {said.decode().strip()}")
    return Run(
        relay=name,
        cpu_us=(end - cpu) * 1e6 / got["tokens"],
        settled_us=(end - settled) * 1e6 / (got["tok_per_s"] * seconds * (1 - SETTLED)),
        tokens_per_s=got["tok_per_s"],
        p50_ms=got["lat_ms"][0],
        p99_ms=got["lat_ms"][2],
        kb_per_stream=memory / streams,
        gaps=got["gaps"],
        failed=got["failed"] + got["bad_status"],
        others=max(0.0, (servers.busy_seconds(core) - busy - (end - cpu)) / passed),
        provider=spoken / passed,
        load=(spoken + read) / passed,
    )


def _reaped_seconds() -> float:
    """User and system time of all programs that the bench started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
