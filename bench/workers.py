"""More streams than one process may hold, on two workers of one port, beside nginx with two.

Strategy: server, provider and clients share all cores of the machine, as two workers have use for
two. The clients are several processes of the load pair, each with so many streams as its open
files allow, from addresses of its own. A percentile of several clients is the worst of theirs.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from bench import crowd, relay, report, servers, spoken
from bench.scenario import OUT, Bench, Figure, Option, Result, Scenario, Size

WORKERS, CLIENTS = 2, 2
PERIOD = Option("period", "seconds between two tokens of a stream", 2)


class Crowd(NamedTuple):
    """What all clients saw of one server. `kb_per_stream` and `cpu_us` are of all its processes,
    the log of the workers among them."""

    relay: str
    streams: int
    cpu_us: float
    tokens_per_s: float
    first_p99_ms: float
    p50_ms: float
    p99_ms: float
    kb_per_stream: float
    opened: int
    gaps: int
    failed: int


def run(bench: Bench) -> Result | None:
    """A node of two workers and nginx in turn."""
    if not relay.pair(bench):
        return None
    bench.say(f"{bench.size.streams} streams, {WORKERS} workers, {bench.size.rounds} rounds ...")
    runs = []
    with crowd.opened(int(bench.options["ramp"]) // CLIENTS):
        for number, name in bench.turns(("nginx", "redis")):
            with bench.folder() as folder:
                server = _server(name, folder)
                if server is None:
                    bench.skip(name, "it is not installed")
                    continue
                one = measure(bench, server, folder)
            runs.append(one)
            bench.say(
                f"round {number}: {name} {one.cpu_us:.1f} µs/token, p50 {one.p50_ms:.0f} ms,"
                f" p99 {one.p99_ms:.0f} ms, {one.tokens_per_s:.0f} tokens/s,"
                f" gaps {one.gaps}, failed {one.failed}"
            )
    mine = [one for one in runs if one.relay == "redis"]
    if not mine:
        return None
    figures = {"p99 added": Figure(median(one.p99_ms for one in mine), beside(mine))}
    whole = not any(one.gaps or one.failed for one in runs)
    return Result([one._asdict() for one in runs], table(runs), figures, whole)


def _server(name: str, folder: Path) -> servers.Server | None:
    if name != "nginx":
        more = f"workers = {WORKERS}\n{spoken.AT_ONCE}"
        return servers.holdfast(folder, settings=more)._replace(name=name)
    made = servers.nginx(folder)
    config = folder / "nginx.conf"
    if made is not None:
        one, more = "worker_processes 1;", f"worker_processes {WORKERS};"
        config.write_text(config.read_text().replace(one, more))
    return made


def measure(bench: Bench, server: servers.Server, folder: Path) -> Crowd:
    """One run. Raises `servers.Failed`."""
    everywhere = ("taskset", "-c", ",".join(str(core) for core in sorted(set(bench.cores))))
    period = int(bench.options["period"])
    provider = relay.simulator(OUT, server.provider, 1)
    provider = (*everywhere, *provider[:-1], str(period * 1_000_000))
    command, core = (*everywhere, *server.command), bench.cores[0]
    body = folder / "body.json"
    body.write_bytes(server.body)
    with (
        servers.running(provider, server.provider, folder / "provider.log", core),
        servers.running(command, server.port, folder / f"{server.name}.log", core) as pid,
    ):
        time.sleep(relay.WARM)
        memory, used = servers.memory_kb(pid), servers.cpu_seconds(pid)
        with contextlib.ExitStack() as kept:
            clients = [
                kept.enter_context(_client(server, streams, bench.size.seconds, body, everywhere))
                for streams in shares(bench.size.streams, CLIENTS)
            ]
            time.sleep(bench.size.seconds - 1)
            memory = servers.memory_kb(pid) - memory
            said = [one.communicate(timeout=30)[0] for one in clients]
        used = servers.cpu_seconds(pid) - used
    return together(server.name, [json.loads(one) for one in said], used, memory)


@contextlib.contextmanager
def _client(
    server: servers.Server, streams: int, seconds: int, body: Path, pinned: Sequence[str]
) -> Any:
    command = [*pinned, str(OUT / "sseload"), str(server.port), server.path, str(streams)]
    command += [str(seconds), str(body), *server.headers]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=quiet) as running:
        try:
            yield running
        finally:
            running.kill()


def shares(whole: int, parts: int) -> list[int]:
    """As even as can be."""
    return [whole // parts + (number < whole % parts) for number in range(parts)]


def together(
    name: str, said: Sequence[Mapping[str, Any]], cpu_seconds: float, memory_kb: float
) -> Crowd:
    """What the clients said, as one. Raises `servers.Failed`."""
    tokens, streams = (sum(one[key] for one in said) for key in ("tokens", "conns"))
    if not tokens:
        raise servers.Failed(f"{name}: not one token came through: {said}")
    return Crowd(
        relay=name,
        streams=streams,
        cpu_us=cpu_seconds * 1e6 / tokens,
        tokens_per_s=sum(one["tok_per_s"] for one in said),
        first_p99_ms=max(one["ttft_ms"][2] for one in said),
        p50_ms=max(one["lat_ms"][0] for one in said),
        p99_ms=max(one["lat_ms"][2] for one in said),
        kb_per_stream=memory_kb / streams,
        opened=sum(one["peak"] for one in said),
        gaps=sum(one["gaps"] for one in said),
        failed=sum(one["failed"] + one["bad_status"] for one in said),
    )


def beside(runs: Sequence[Crowd]) -> str:
    """What is told with a figure."""
    return (
        f"{median(one.cpu_us for one in runs):.1f} µs, p50 {median(one.p50_ms for one in runs):.1f}"
        f" ms, {median(one.tokens_per_s for one in runs):.0f} tokens/s,"
        f" {sum(one.gaps for one in runs)} gaps and repeats,"
        f" {sum(one.failed for one in runs)} failed"
    )


HEAD = ("relay", "CPU µs/token", "tokens/s", "first token p99 ms", "p50 ms", "p99 ms")
LAST = ("KB/stream", "open at once", "gaps", "failed")


def table(runs: Sequence[Crowd]) -> str:
    """A line for each run."""
    rows = (
        (
            one.relay,
            f"{one.cpu_us:.1f}",
            f"{one.tokens_per_s:.0f}",
            f"{one.first_p99_ms:.0f}",
            f"{one.p50_ms:.1f}",
            f"{one.p99_ms:.1f}",
            f"{one.kb_per_stream:.0f}",
            f"{one.opened}",
            f"{one.gaps}",
            f"{one.failed}",
        )
        for one in sorted(runs)
    )
    return report.table((*HEAD, *LAST), rows)


SCENARIO = Scenario(
    "workers",
    "18,000 streams of a token each 2 seconds on two workers, beside nginx with two",
    run,
    Size(18_000, 3, 25, 0),
    options=(PERIOD, crowd.RAMP),
    usual=False,
)
