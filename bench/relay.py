"""A thousand streams: what a token costs, beside nginx in the same run.

Strategy: the load (a simulated provider and a client: the pair in C where it is, else the bench's
own in Python) stamps each token with its number and time, so one client counts tokens, gaps and
waits behind any relay. A relay is freshly started on its core; the load and the bench share the
others. Beside the pair's client, which does not tell how tokens come together, a few of the
streams are read by ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench import servers
from bench.certificates import Certificates
from bench.scenario import OUT, Bench

RATE, TOKENS = 20, 200
"""Tokens a second and tokens of a stream; the load opens a new one where one has ended."""

WARM, SETTLED = 1.0, 0.3
"""Seconds from open port to load; the share of a run after which all streams are open."""

WITNESS, OF = 20, 10
"""Streams that are read by our client beside the pair's, and of how many one at most."""

RAMP = 4000
"""Streams that are opened a second."""

MOST = 4
"""Processes of the provider, and of the client: one a core, where there are so many."""


class Run(NamedTuple):
    """One relay under the load. CPU microseconds are per token: `cpu_us` over the whole run,
    the opening of streams included, `settled_us` without its first 30 %. `others` is the
    share of the relay's core that went to programs outside the bench, `provider` that of the
    load's core that went to the simulated provider, `load` to it and the client. `gaps` are
    tokens missing, doubled or out of order; `first` is from the request to the first token;
    `saved` what was packed of the bytes."""

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
    tokens_per_write: float | None = None
    first_p50_ms: float | None = None
    first_p99_ms: float | None = None
    bytes_per_token: float | None = None
    saved: float | None = None


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


def speaker(
    port: int,
    rate: float,
    tokens: int = TOKENS,
    tls: tuple[int, Certificates] | None = None,
    cores: Sequence[int] = (),
) -> Sequence[str]:
    """The command of the bench's own provider, which speaks every kind, and over TLS too."""
    command = [sys.executable, "-m", "bench.simulator", str(port), str(tokens), str(rate)]
    if tls is not None:
        command += ["--tls", str(tls[0]), str(tls[1].certificate), str(tls[1].key)]
    return (*_pinned(cores), *command)


def _pinned(cores: Sequence[int]) -> Sequence[str]:
    return ("taskset", "-c", ",".join(map(str, cores))) if cores else ()


class Load(NamedTuple):
    """Who provides and who asks; `cores` are the load's. The provider has half of them. `ours`:
    our client asks, whoever provides. `ramp`: streams that are opened a second."""

    pair: bool
    cores: Sequence[int]
    ours: bool = False
    ramp: int = RAMP

    def provider(self, port: int, rate: int, tokens: int = TOKENS) -> Sequence[str]:
        """The command of the simulated provider."""
        if self.pair:
            return (str(OUT / "llmsim"), str(port), str(tokens), str(1_000_000 // rate))
        return speaker(port, rate, tokens, cores=self.split[0])

    def clients(self, asked: Sequence[str], streams: int, rest: Sequence[str]) -> list[list[str]]:
        """The commands of all clients, of which ours is the last one; `asked` are port and path,
        `rest` seconds, body and headers."""
        ours = [
            *_pinned(self.split[1]),
            sys.executable,
            "-m",
            "bench.load",
            f"--ramp={self.ramp}",
            *asked,
        ]
        if self.ours or not self.pair:
            return [[*ours, str(streams), *rest]]
        few = min(WITNESS, streams // OF)
        pairs = [
            "env",
            f"RAMP={self.ramp}",
            str(OUT / "sseload"),
            *asked,
            str(streams - few),
            *rest,
        ]
        return [pairs, [*ours, str(few), *rest]] if few else [pairs]

    @property
    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """The provider's cores and the client's; they share one where there is one."""
        half = len(self.cores) // 2
        parts = (self.cores[:half], self.cores[half:]) if half else (self.cores, self.cores)
        return parts[0][:MOST], parts[1][:MOST]


def pair(bench: Bench) -> bool:
    """Whether the load pair is there and compiled; says so where it is not."""
    sources = loadgen()
    if sources is not None and compile_pair(sources, OUT):
        return True
    why = "C compiler (cc)" if sources else "load pair (HOLDFAST_SHARED/loadgen)"
    bench.skip("the load pair", f"there is no {why} here")
    return False


def chosen(bench: Bench) -> Load | None:
    """The load that `--load` names; the pair where it is there, else Python's."""
    wanted = bench.options.get("load", "auto")
    cores = bench.cores[1:]
    if wanted != "python" and pair(bench):
        return Load(True, cores)
    return None if wanted == "pair" else Load(False, cores)


Make = Callable[[str, Path, contextlib.ExitStack], servers.Server | None]
"""The server of this name, whose files go into the folder; what must run beside it goes at the
stack's end. None where it is not installed."""


Speak = Callable[[servers.Server, Path], Sequence[str]]
"""The command of a provider that is not the load's, for this server, with its files there."""


def in_turn(
    bench: Bench,
    names: Sequence[str],
    make: Make,
    spare: Sequence[str] = (),
    speak: Speak | None = None,
    tokens: int = TOKENS,
    ours: bool = False,
    ramp: int = RAMP,
) -> list[Run]:
    """The load on each of these servers, in turn; nothing, and said so, without a load. Where one
    of `spare` fails, that is said, and the others go on. `ours`: our client reads all streams, as
    the pair's unpacks nothing."""
    load = chosen(bench)
    if load is None:
        return []
    load = load._replace(ours=ours, ramp=ramp)
    size = bench.size
    bench.say(f"{size.streams} streams of {size.rate} tokens/s, {size.rounds} rounds ...")
    runs: list[Run] = []
    for number, name in bench.turns(names):
        with bench.folder() as folder, contextlib.ExitStack() as kept:
            server = make(name, folder, kept)
            if server is None:
                bench.skip(name, "it is not installed")
                continue
            provider = (
                load.provider(server.provider, size.rate, tokens)
                if speak is None
                else speak(server, folder)
            )
            try:
                run = measure(
                    server, provider, size.streams, size.seconds, folder, bench.cores, load
                )
            except servers.Failed as failure:
                if name not in spare:
                    raise
                bench.skip(name, str(failure))
                continue
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
    cores: Sequence[int],
    load: Load | None = None,
) -> Run:
    """One run, some seconds longer than `seconds`. `provider` is the command of the simulated
    one; all files go into `folder`. `cores`: the relay's and the load's, which is the pair unless
    said otherwise. Raises `servers.Failed`."""
    body, log, load = (
        folder / "body.json",
        folder / f"{server.name}.log",
        load or Load(True, cores[1:]),
    )
    body.write_bytes(server.body)
    start = (server.command, server.port, log, cores[0], server.patience)
    with servers.running(provider, server.provider, folder / "provider.log", cores[1]) as other:
        with servers.running(*start) as pid:
            port = str(server.port or servers.told_port(log))
            rest = (str(seconds), str(body), *server.headers)
            clients = load.clients((port, server.path), streams, rest)
            time.sleep(WARM)
            run = _observe(server.name, clients, streams, seconds, (pid, other), cores[0])
        ended = log.read_text(errors="replace").rpartition("node_stopped")[2]
    told = re.findall(r'(ticks|batches)"?[=:] ?(\d+)', ended)
    counts = {name: int(count) for name, count in told}
    wide = counts["batches"] / max(1, counts["ticks"]) if len(counts) == 2 else None
    return run._replace(streams_per_tick=wide)


def _observe(
    name: str,
    clients: Sequence[Sequence[str]],
    streams: int,
    seconds: int,
    pids: tuple[int, int],
    core: int,
) -> Run:
    """Runs the clients; `pids` are the relay's, which is on this core, and the provider's."""
    pid, provider = pids
    memory, begun = servers.memory_kb(pid), time.monotonic()
    spoken, read = servers.cpu_seconds(provider), _reaped_seconds()
    cpu, busy = servers.cpu_seconds(pid), servers.busy_seconds(core)
    with contextlib.ExitStack() as kept:
        running = [kept.enter_context(_client(command)) for command in clients]
        time.sleep(seconds * SETTLED)
        settled = servers.cpu_seconds(pid)
        time.sleep(seconds * (1 - SETTLED) - 1)
        memory = servers.memory_kb(pid) - memory
        said = [one.communicate(timeout=30)[0] for one in running]
    end, passed = servers.cpu_seconds(pid), time.monotonic() - begun
    spoken, read = servers.cpu_seconds(provider) - spoken, _reaped_seconds() - read
    if not all(said):
        raise servers.Failed(f"{name}: a client of the load failed")
    got = [json.loads(one) for one in said]
    total = {key: sum(one[key] for one in got) for key in (*LOST, "tokens", "tok_per_s")}
    if not total["tokens"]:
        raise servers.Failed(f"{name}: not one token came through: {said[0].decode().strip()}")
    run = Run(
        relay=name,
        cpu_us=(end - cpu) * 1e6 / total["tokens"],
        settled_us=(end - settled) * 1e6 / (total["tok_per_s"] * seconds * (1 - SETTLED)),
        tokens_per_s=total["tok_per_s"],
        p50_ms=got[0]["lat_ms"][0],
        p99_ms=got[0]["lat_ms"][2],
        kb_per_stream=memory / streams,
        gaps=total["gaps"],
        failed=total["failed"] + total["bad_status"],
        others=max(0.0, (servers.busy_seconds(core) - busy - (end - cpu)) / passed),
        provider=spoken / passed,
        load=(spoken + read) / passed,
        first_p50_ms=got[0]["ttft_ms"][0],
        first_p99_ms=got[0]["ttft_ms"][2],
    )
    return _witnessed(run, got[-1])


LOST = ("gaps", "failed", "bad_status")


def _witnessed(run: Run, got: dict[str, Any]) -> Run:
    """With what only our client tells."""
    if not got.get("reads"):
        return run
    # On cores of their own, the busiest of them all is what limits the load.
    alone = got["processes"] > 1
    return run._replace(
        load=max(run.provider, got["share"]) if alone else run.load,
        tokens_per_write=got["tokens"] / got["reads"],
        bytes_per_token=got["bytes"] / got["tokens"],
        saved=1 - got["bytes"] / got["unpacked"] if got["unpacked"] else None,
    )


@contextlib.contextmanager
def _client(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as running:
        try:
            yield running
        finally:
            running.kill()


def _reaped_seconds() -> float:
    """User and system time of all programs that the bench started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
