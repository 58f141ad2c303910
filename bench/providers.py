"""What a token costs by the kind of provider that it comes from, and under TLS.

Strategy: one provider of the bench's own (`simulator`) speaks every kind's wire over plain
HTTP and over TLS; one node has a table for each of them; the load pair's client asks one of
them per run. So the runs differ in the provider's kind and in nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from bench import certificates, relay, servers
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


def known() -> list[Source]:
    """The sources whose kind there is."""
    return [source for source in SOURCES if source.kind in vendors.VENDORS]


def measure(
    source: Source, streams: int, seconds: int, folder: Path, cores: list[int]
) -> relay.Run:
    """One run; see `relay.measure`. Raises `servers.Failed`."""
    made, plain, secure = certificates.make(folder), servers.free_port(), servers.free_port()
    tables = f'[network]\nca_file = "{made.authority}"\n{_tables(known(), plain, secure)}'
    url = f"sqlite:///{folder / 'holdfast.db'}"
    node = servers.node(source.name, folder, url, plain, tables)
    body = f'{{"model":"{source.name}/sim","messages":[{{"role":"user","content":"go"}}]}}'
    numbers = (plain, secure, relay.TOKENS, relay.RATE)
    simulator = [sys.executable, "-m", "bench.simulator", *map(str, numbers)]
    simulator += [str(made.certificate), str(made.key)]
    node = node._replace(body=body.encode())
    return relay.measure(node, simulator, streams, seconds, folder, cores)


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
