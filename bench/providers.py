"""What a token costs by the kind of provider that it comes from, and under TLS.

Strategy: one provider of the bench's own (`simulator`) speaks every kind's wire over plain
HTTP and over TLS; one node has a table for each of them; the load pair's client asks one of
them per run. So the runs differ in the provider's kind and in nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from bench import certificates, relay, report, servers, translating, wires
from bench.scenario import Bench, Figure, Result, Scenario, Size
from holdfast.providers import vendors


class Source(NamedTuple):
    """Where tokens come from: a row of the report. `name` is also the provider's in the
    configuration; `kind` is its kind there, `wire` what it speaks."""

    name: str
    kind: str
    wire: str
    tls: bool = False


SOURCES = (
    Source("chat", "openai", "chat"),
    Source("responses", "openai_responses", "responses"),
    Source("anthropic", "anthropic", "anthropic"),
    Source("google", "google", "google"),
    Source("chat_tls", "openai", "chat", tls=True),
)
"""The first one is what the others are compared with."""


LOADS: report.Columns = (
    ("streams a tick", "streams_per_tick", ".1f"),
    ("provider on its core", "provider", ".0%"),
    ("with the client", "load", ".0%"),
)
FIRST = ("bytes/token", "translator µs", "times chat, settled")


def known() -> list[Source]:
    """The sources whose kind there is."""
    return [source for source in SOURCES if source.kind in vendors.VENDORS]


def measure(
    source: Source, size: Size, folder: Path, cores: Sequence[int], load: relay.Load
) -> relay.Run:
    """One run; see `relay.measure`. Raises `servers.Failed`."""
    made, plain, secure = certificates.make(folder), servers.free_port(), servers.free_port()
    tables = f'[network]\nca_file = "{made.authority}"\n{_tables(known(), plain, secure)}'
    url = f"sqlite:///{folder / 'holdfast.db'}"
    node = servers.node(source.name, folder, url, plain, tables)
    body = f'{{"model":"{source.name}/sim","messages":[{{"role":"user","content":"go"}}]}}'
    simulator = relay.speaker(plain, size.rate, tls=(secure, made))
    node = node._replace(body=body.encode())
    return relay.measure(node, simulator, size.streams, size.seconds, folder, cores, load)


def _tables(sources: Iterable[Source], plain: int, secure: int) -> str:
    """A provider's table for each source, at the simulator's ports instead of its host."""
    return "".join(
        f'[providers.{source.name}]\nkind = "{source.kind}"\napi_key = "x"\nmodels = []\n'
        f'base_url = "{_base_url(source, secure if source.tls else plain)}"\n'
        for source in sources
    )


def _base_url(source: Source, port: int) -> str:
    path = urlsplit(vendors.VENDORS[source.kind].base_url or "").path
    return f"{'https' if source.tls else 'http'}://{certificates.HOST}:{port}{path}"


def run(bench: Bench) -> Result | None:
    """Every kind in turn; before that, each translator alone."""
    load = relay.chosen(bench)
    if load is None:
        return None
    size, alone = bench.size, translators(bench)
    bench.say(f"{size.streams} streams of {size.rate} tokens/s, {size.rounds} rounds ...")
    runs: list[relay.Run] = []
    for number, source in bench.turns(known()):
        with bench.folder() as folder:
            one = measure(source, size, folder, bench.cores, load)
        runs.append(one)
        bench.say(f"{relay.line(number, one)}, provider {one.provider:.0%} of its core")
    rows = [{**one._asdict(), "translator_us": alone[one.relay]} for one in runs]
    whole = not any(one.gaps for one in runs)
    return Result(rows, table(runs, alone), figures(report.good(runs)), whole)


def translators(bench: Bench) -> dict[str, float]:
    """The microseconds of each kind's translator, whose kind there is."""
    found, there = {}, known()
    for source in SOURCES:
        if source not in there:
            bench.skip(source.name, f"there is no kind {source.kind}")
            continue
        found[source.name] = translating.measure(source.kind, source.name, source.wire)
        bench.say(f"{source.name}: translator {found[source.name]:.2f} µs/token")
    return found


def table(found: Sequence[relay.Run], translators: Mapping[str, float]) -> str:
    """A line for each kind; `translators` has the microseconds of each one's."""
    runs = report.good(found)
    columns = (*report.COLUMNS, *LOADS)
    head = ["provider", *FIRST, *(title for title, _, _ in columns), *report.LAST]
    rows = []
    for source in SOURCES:
        mine = report.of(runs, source.name)
        if mine:
            times = report.times(runs, source.name, SOURCES[0].name, "settled_us")
            ratio = "-" if times is None else f"{times:.2f}"
            first = (f"{wires.frame_bytes(source.wire)}", f"{translators[source.name]:.1f}", ratio)
            rows.append([source.name, *first, *report.row(mine, columns)])
    said = [report.table(head, rows), *report.refused(found), *report.noise(runs)]
    return "\n\n".join(said)


def figures(runs: Sequence[relay.Run]) -> dict[str, Figure]:
    """Each kind's cost to that of chat completions."""
    first = SOURCES[0].name
    found = {
        source.name: report.times(runs, source.name, first, "settled_us") for source in SOURCES[1:]
    }
    return {
        f"{name} ÷ {first}": Figure(ratio, report.beside(report.of(runs, name)), ratio=True)
        for name, ratio in found.items()
        if ratio is not None
    }


SCENARIO = Scenario("providers", "every kind of provider, and TLS", run, Size(200, 3))
