"""Many streams whose provider is asked over TLS, beside nginx in the same run.

Strategy: as in `many`, but the provider is the bench's own, which speaks TLS: each token is a
record. nginx reads the same provider over TLS; it verifies nothing, as that is its default.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from bench import certificates, many, relay, servers
from bench.scenario import Bench, Result, Scenario, Size

OPENING = 0.25
"""Share of a run in which all streams are opened: handshakes at once would be all that is seen."""


def run(bench: Bench) -> Result | None:
    """nginx and the usual node, in turn."""
    secure = servers.free_port()

    def make(name: str, folder: Path, kept: contextlib.ExitStack) -> servers.Server | None:
        made = certificates.make(folder)
        return nginx(folder, secure) if name == "nginx" else node(folder, secure, made.authority)

    def speak(server: servers.Server, folder: Path) -> Sequence[str]:
        pem = (folder / f"{name}.pem" for name in ("authority", "certificate", "key"))
        made = certificates.Certificates(*pem)
        return relay.speaker(server.provider, bench.size.rate, tls=(secure, made))

    ramp = max(1, round(bench.size.streams / (bench.size.seconds * OPENING)))
    runs = relay.in_turn(bench, ("nginx", "sqlite"), make, speak=speak, ramp=ramp)
    return many.result(bench, runs) if runs else None


def nginx(folder: Path, secure: int) -> servers.Server | None:
    """The same as ever, but for the provider's scheme and port."""
    server = servers.nginx(folder)
    if server is not None:
        config = folder / "nginx.conf"
        here = f"http://127.0.0.1:{server.provider};"
        there = f"https://127.0.0.1:{secure};"
        config.write_text(config.read_text().replace(here, there))
    return server


def node(folder: Path, secure: int, authority: Path) -> servers.Server:
    """A node whose provider is at this port."""
    tables = (
        f'[network]\nca_file = "{authority}"\n[providers.sim]\nkind = "openai_chat"\n'
        f'base_url = "https://127.0.0.1:{secure}/v1"\napi_key = "x"\nmodels = ["sim"]\n'
    )
    url = f"sqlite:///{folder / 'holdfast.db'}"
    return servers.node("sqlite", folder, url, servers.free_port(), tables)


SCENARIO = Scenario(
    "tls", "many streams, the provider over TLS, beside nginx", run, Size(1000, 5, 20)
)
