"""Real Prometheus: it scrapes a running server as deploy/ says, evaluates the rules and fires one.

Strategy: the configuration is the one of deploy/, with another target and shorter times. Everything
is waited for by asking Prometheus, whose first scrape is five seconds away.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.integration import (
    asking,
    harness,
    node_with_keys,
    prometheus_server,
)

from holdfast.telemetry.alerts import rules

DEPLOYED = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"
EVERY = "500ms"

FIRES = """
groups:
  - name: test
    rules:
      - alert: AnswersFail
        expr: sum(increase(holdfast_streams_ended_total{status="error"}[1m])) > 0
        for: 0s
"""


def deployed(folder: Path, port: int, key: str) -> Path:
    """The folder of deploy/ for this server."""
    made = shutil.copytree(DEPLOYED, folder / "prometheus")
    text = (made / "prometheus.yml").read_text()
    for before, after in (
        ("scrape_interval: 15s", f"scrape_interval: {EVERY}\n  scrape_timeout: {EVERY}"),
        ("evaluation_interval: 15s", f"evaluation_interval: {EVERY}"),
        ("- rules.yml", "- rules.yml\n  - fires.yml"),
        ("localhost:8080", f"127.0.0.1:{port}"),
    ):
        assert text.count(before) == 1
        text = text.replace(before, after)
    (made / "holdfast.key").write_text(f"{key}\n")
    (made / "fires.yml").write_text(FIRES)
    (made / "prometheus.yml").write_text(text)
    return made


@pytest.fixture(scope="module")
def program(require: Callable[[str], Path]) -> Path:
    return require("prometheus")


async def test_it_scrapes_by_a_key_evaluates_the_rules_and_fires_one(
    program: Path, tmp_path: Path
) -> None:
    async with node_with_keys.serving() as server:
        scraper = await node_with_keys.made(server, "ops", scopes=("metrics",))
        asker = await node_with_keys.made(server, "acme")
        key = scraper.headers["Authorization"].removeprefix("Bearer ")
        folder = deployed(tmp_path, server.port, key)
        async with prometheus_server.running(program, folder) as prometheus:
            await prometheus.until("sum(holdfast_streams_started_total)", 0.0)
            for options in ("tokens=5", "tokens=5", "tokens=5 error_at=2"):
                body = asking.demo(options)
                await (await harness.begin(server.port, body, asker.headers.items())).rest()
            for name, value in (
                ("sum(holdfast_streams_started_total)", 3.0),
                ('holdfast_streams_ended_total{status="completed"}', 2.0),
                ("sum(holdfast_errors_total)", 1.0),
                ("holdfast_connections_total", 3.0),
                ("holdfast_first_chunk_seconds_count", 3.0),
                ('up{job="holdfast"}', 1.0),
                ('ALERTS{alertname="AnswersFail",alertstate="firing"}', 1.0),
            ):
                await prometheus.until(name, value)
            groups = (await prometheus.api("rules"))["groups"]
            every = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
            assert len(every) == len(rules.ROWS) + 1
            assert set(every.values()) == {"ok"}
