"""What a node counts, as instruments that are asked.

Strategy: the rows of the catalogue are the instruments, under its names. An SDK asks in a thread of
its own and may do so while the node's loop is held up, so it is given the latest snapshot, which
the loop takes every few seconds, and never reaches into what is being counted. Histograms cannot
be asked for in this API, so those of the catalogue are left to Prometheus, and the process' own
figures to who has instruments for any process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator

from opentelemetry import metrics

from holdfast.telemetry import catalogue, samples

EVERY = 5.0
"""Seconds between two snapshots; SDKs export once a minute, unless they are told otherwise."""

_NAMES = {
    f"gen_ai_client_inference_usage_{ours}_total": f"gen_ai.client.inference.usage.{theirs}"
    for ours, theirs in (
        ("input_tokens", "input_tokens"),
        ("output_tokens", "output_tokens"),
        ("cache_read_input_tokens", "cache_read.input_tokens"),
        ("reasoning_output_tokens", "reasoning.output_tokens"),
    )
}
"""Names of the conventions, where ours do not tell where the dots stand."""

_UNITS = {"seconds": "s", "bytes": "By", "": ""}
"""Those that are measures; what is counted stands in braces."""


def name(row: catalogue.Metric) -> str:
    """A metric's name; "" where it is not told here. Prometheus' form of it is the catalogue's."""
    if row.kind not in ("counter", "gauge"):
        return ""
    if row.name.startswith("holdfast_"):
        plain = row.name.removesuffix("_total").removesuffix("_seconds")
        return plain.replace("_", ".", 1)
    return _NAMES.get(row.name, "")


def unit(row: catalogue.Metric) -> str:
    """A metric's unit, in UCUM."""
    return _UNITS.get(row.unit, f"{{{row.unit.removesuffix('s')}}}")


def attribute(label: str) -> str:
    """What a label of the catalogue is called."""
    if label.startswith("gen_ai_"):
        _, _, part, rest = label.split("_", 3)
        return f"gen_ai.{part}.{rest}"
    return "error.type" if label == "error_type" else f"holdfast.{label}"


class Observed:
    """The instruments of one meter. Nothing is told before the first snapshot."""

    def __init__(self, meter: metrics.Meter) -> None:
        self._latest: samples.Node | None = None
        for row in catalogue.METRICS:
            if not name(row):
                continue
            counter = row.kind == "counter"
            make = meter.create_observable_counter if counter else meter.create_observable_gauge
            make(name(row), [self._reader(row)], unit(row), row.meaning)

    def _reader(
        self, row: catalogue.Metric
    ) -> Callable[[metrics.CallbackOptions], Iterable[metrics.Observation]]:
        names = [attribute(label) for label in row.labels]

        def read(options: metrics.CallbackOptions) -> Iterator[metrics.Observation]:
            node = self._latest
            for values, value in row.read(node) if node is not None else ():
                if isinstance(value, int | float):
                    yield metrics.Observation(+value, dict(zip(names, values, strict=True)))

        return read

    async def run(self, take: Callable[[], samples.Node]) -> None:
        """Takes snapshots as long as the node lives, and one at its end: never returns."""
        try:
            while True:
                self._latest = take()
                await asyncio.sleep(EVERY)
        finally:
            self._latest = take()
