"""What is to be reached: the rows of the table in `RESULTS.md`.

Strategy: each row names the figure that answers it, by scenario and name, and the size at which it
counts: a figure of another size is shown nowhere, since it would answer another question.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Aim(NamedTuple):
    """`streams` and `rate` are those of the scenario's size that the row speaks of; 0: any."""

    title: str
    scenario: str
    figure: str
    floor: float
    aim: float
    unit: str = ""
    streams: int = 0
    rate: int = 0
    higher: bool = False

    def met(self, value: float) -> str:
        """Which of the two was reached."""
        for bound, name in ((self.aim, "aim met"), (self.floor, "floor met, aim MISSED")):
            if value >= bound if self.higher else value <= bound:
                return name
        return "floor MISSED"

    @property
    def said(self) -> str:
        """Both, for a line below a table."""
        return f"floor {self.floor:g}, aim {self.aim:g}"


AIMS: Sequence[Aim] = (
    Aim(
        "relay, SQLite log, µs a token ÷ nginx in the same run",
        "relay",
        "sqlite ÷ nginx",
        2.2,
        1.7,
        streams=1000,
        rate=20,
    ),
    Aim("the same with TLS upstream", "tls", "sqlite ÷ nginx", 3.0, 2.2, "", 1000, 20),
    Aim("chunk latency added, p99", "relay", "p99 added", 100, 20, "ms", 1000, 20),
    Aim("set-up at 500 new streams a second, p99", "setup", "p99", 100, 20, "ms", 0, 500),
    Aim("first chunk from an instant provider, p99", "first", "p99", 500, 50, "ms", 1000),
    Aim("9,500 streams of 2/s on one core, p99 added", "crowd", "p99 added", 300, 100, "ms", 9500),
    Aim("12,000 readers open on one node, p99", "readers", "p99", 100, 50, "ms", 12000),
    Aim("18,000 streams on two workers, p99 added", "workers", "p99 added", 500, 100, "ms", 18000),
    Aim(
        "one live stream, MB/s", "replay", "live, pieces of 1000 bytes", 1, 20, "MB/s", higher=True
    ),
    Aim(
        "saturation with p99 added < 150 ms, tokens/s ÷ nginx's",
        "saturation",
        "sqlite ÷ nginx",
        0.7,
        1.0,
        higher=True,
    ),
    Aim("memory a relayed stream, plain", "relay", "KB a stream", 35, 25, "KB", 1000),
    Aim("memory a relayed stream, gzip", "compressed", "KB a stream", 60, 45, "KB", 1000),
    Aim(
        "one stream to 10,000 readers, µs an event ÷ a bare uvloop write loop",
        "fanout",
        "holdfast ÷ bare",
        3,
        2,
        streams=10000,
    ),
    Aim("resume storm, 200 events behind each, caught up", "storm", "s", 10, 4, "s", 10000),
    Aim("compression saved, token by token", "compressed", "saved %", 70, 75, "%", higher=True),
    Aim("compression saved, coalesced", "compressed", "saved % coalesced", 82, 84, "%", 0, 0, True),
    Aim("Redis log over SQLite log, µs a token", "relay", "redis - sqlite", 10, 2, "µs", 1000, 20),
    Aim("everything on ÷ everything off, µs a token", "everything", "on ÷ off", 1.5, 1.2, "", 1000),
)


def of(scenario: str, figure: str) -> Aim | None:
    """The row that this figure answers."""
    rows = (aim for aim in AIMS if (aim.scenario, aim.figure) == (scenario, figure))
    return next(rows, None)
