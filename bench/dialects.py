"""Many streams in each dialect: what a token costs by how it is spoken to the client.

Strategy: one node and one provider, asked in each dialect in turn. No stream ends within a run: at
its end the Responses dialect says the whole answer again, which would count as tokens repeated.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from bench import relay, report, servers
from bench.scenario import Bench, Result, Scenario, Size

SAID = [{"role": "user", "content": "go"}]
ASKED: dict[str, tuple[str, dict[str, object]]] = {
    "native": ("/v1/streams", {"messages": SAID}),
    "openai_chat": ("/v1/chat/completions", {"messages": SAID}),
    "openai_responses": ("/v1/responses", {"input": "go"}),
    "anthropic": ("/v1/messages", {"max_tokens": 1_000_000, "messages": SAID}),
    "ai_sdk": (
        "/api/chat",
        {"messages": [{"id": "1", "role": "user", "parts": [{"type": "text", "text": "go"}]}]},
    ),
}
TIMES = 1.3
"""Told of each: at most so many times the native one."""


def run(bench: Bench) -> Result | None:
    """All dialects, in turn."""

    def make(name: str, folder: Path, kept: contextlib.ExitStack) -> servers.Server | None:
        if name == "nginx":
            return servers.nginx(folder)
        path, fields = ASKED[name]
        body: dict[str, object] = {"model": "sim/sim", **fields}
        if name != "native":
            body["stream"] = True
        server = servers.holdfast(folder, settings='drain_timeout = "0s"\n')
        return server._replace(name=name, path=path, body=json.dumps(body).encode())

    endless = bench.size.rate * bench.size.seconds * 2
    runs = relay.in_turn(bench, ["nginx", *ASKED], make, tokens=endless)
    if not runs:
        return None
    floors = dict.fromkeys([name for name in ASKED if name != "native"], "native")
    text, figures = report.sides(runs, floors, TIMES), report.ratios(runs, floors)
    whole = not any(run.gaps for run in runs)
    return Result([run._asdict() for run in runs], text, figures, whole)


SCENARIO = Scenario("dialects", "many streams, in each dialect", run, Size(1000, 3))
