"""A run fails by what the product says of itself, and by ends that have no cause."""

from __future__ import annotations

from typing import Any

import pytest
import structlog

from holdfast import events, service
from holdfast.testing import history
from holdfast.testing.simulation import ends, running


class Telling(service.Service):
    """Says of itself, as it starts, that it has a bug."""

    said = ""

    async def start(self) -> None:
        structlog.get_logger("holdfast").error(self.said)
        await super().start()


@pytest.mark.parametrize(
    "bug",
    ["job_failed", "producer_failed", "writer_failed", "translator_failed", "adoption_failed"],
)
def test_what_is_logged_as_a_bug_is_one(bug: str) -> None:
    made = type("Made", (Telling,), {"said": bug})
    (found, *_) = running.run(0, running.Parts(service=made)).violations
    assert found.startswith(f"{bug}: ")


def test_what_is_logged_in_bad_weather_is_none() -> None:
    made = type("Made", (Telling,), {"said": "orphans_unknown"})
    assert running.run(0, running.Parts(service=made)).violations == ()


def test_each_end_is_asked_for_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def unexplained(stream: str, bodies: list[events.Body], *rest: Any) -> list[str]:
        asked.append(f"{stream} {bodies[-1].kind}")
        return ["nothing explains it"]

    monkeypatch.setattr(ends, "unexplained", unexplained)
    outcome = running.run(1)
    kept = [entry for entry in outcome.entries if isinstance(entry, history.Kept)]
    over = [f"{entry.stream} {entry.kind}" for entry in kept if entry.kind in events.TERMINAL]
    assert asked == over
    assert outcome.violations == ("nothing explains it",) * len(over)


def test_a_store_tells_how_each_stream_failed() -> None:
    kept = [
        entry
        for seed in range(10)
        for entry in running.run(seed).entries
        if isinstance(entry, history.Kept)
    ]
    assert {bool(entry.code) for entry in kept if entry.kind == "error"} == {True}
    assert {entry.code for entry in kept if entry.kind != "error"} == {""}
