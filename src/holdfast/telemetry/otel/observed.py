"""What a node counts, as instruments that are asked.

Strategy: the rows of the catalogue are the instruments, under its names. An SDK asks in a thread of
its own and may do so while the node's loop is held up, so it is given the latest snapshot, which
the loop takes every few seconds, and never reaches into what is being counted. A histogram that
somebody has counted already cannot be given to this API: those that no call or stream records
(`measures`) are told as Prometheus has them, in counters: how many, what they come to, and how many
up to each bound. The process' own figures are left to who has instruments for any process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator

from opentelemetry import metrics

from holdfast.telemetry import catalogue, samples
from holdfast.telemetry.histogram import SECOND, Histogram

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

MEASURED = (
    "holdfast_stream_duration_seconds",
    "holdfast_first_chunk_seconds",
    "gen_ai_client_operation_duration_seconds",
    "gen_ai_client_operation_time_to_first_chunk_seconds",
)
"""Histograms that are told as such, sample by sample."""

_BETWEEN = "gen_ai_client_operation_time_per_output_chunk_seconds"

Read = Callable[[metrics.CallbackOptions], Iterable[metrics.Observation]]
Part = Callable[[samples.Value, catalogue.Metric], Iterator[tuple[float, dict[str, str]]]]
"""Numbers of a value, each with attributes of its own."""


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


def spread(row: catalogue.Metric) -> str:
    """What the counters of a histogram or a summary begin with; "" where it has none."""
    if row.kind not in ("histogram", "summary") or row.name in MEASURED:
        return ""
    if row.name == _BETWEEN:
        return "gen_ai.client.operation.time_per_output_chunk"
    return row.name.removesuffix("_seconds").replace("_", ".", 1)


def _plain(value: samples.Value, row: catalogue.Metric) -> Iterator[tuple[float, dict[str, str]]]:
    if isinstance(value, int | float):
        yield +value, {}


def _many(value: samples.Value, row: catalogue.Metric) -> Iterator[tuple[float, dict[str, str]]]:
    if isinstance(value, Histogram):
        yield value.count, {}
    elif isinstance(value, samples.Sum):
        yield value.many, {}


def _total(value: samples.Value, row: catalogue.Metric) -> Iterator[tuple[float, dict[str, str]]]:
    if isinstance(value, Histogram):
        yield value.total / SECOND, {}
    elif isinstance(value, samples.Sum):
        yield value.total, {}


def _up_to(value: samples.Value, row: catalogue.Metric) -> Iterator[tuple[float, dict[str, str]]]:
    if isinstance(value, Histogram):
        for bound, under in zip(row.buckets, value.under(row.buckets), strict=True):
            yield under, {"le": str(bound)}
        yield value.count, {"le": "+Inf"}


class Observed:
    """The instruments of one meter. Nothing is told before the first snapshot."""

    def __init__(self, meter: metrics.Meter) -> None:
        self._latest: samples.Node | None = None
        counter = meter.create_observable_counter
        for row in catalogue.METRICS:
            if name(row):
                make = counter if row.kind == "counter" else meter.create_observable_gauge
                make(name(row), [self._reader(row, _plain)], unit(row), row.meaning)
            if begin := spread(row):
                counter(f"{begin}.count", [self._reader(row, _many)], "1", row.meaning)
                counter(f"{begin}.sum", [self._reader(row, _total)], "s", row.meaning)
            if begin and row.buckets:
                counter(f"{begin}.bucket", [self._reader(row, _up_to)], "1", row.meaning)

    def _reader(self, row: catalogue.Metric, part: Part) -> Read:
        names = [attribute(label) for label in row.labels]

        def read(options: metrics.CallbackOptions) -> Iterator[metrics.Observation]:
            node = self._latest
            for values, value in row.read(node) if node is not None else ():
                labels = dict(zip(names, values, strict=True))
                for number, more in part(value, row):
                    yield metrics.Observation(number, {**labels, **more})

        return read

    async def run(self, take: Callable[[], samples.Node]) -> None:
        """Takes snapshots as long as the node lives, and one at its end: never returns."""
        try:
            while True:
                self._latest = take()
                await asyncio.sleep(EVERY)
        finally:
            self._latest = take()
