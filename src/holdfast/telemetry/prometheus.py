"""What nodes tell, as Prometheus reads it.

Strategy: the samples of the catalogue are handed to the official library, which knows how names,
labels and numbers are written. Nothing is registered with it: a collector lives for one page. Where
several workers serve one port, each has its own series under the label `worker`, never a sum: the
counts of one that dies would be missing in it, which looks as if all had begun anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from holdfast.telemetry import catalogue, samples
from holdfast.telemetry.histogram import SECOND, Histogram

if TYPE_CHECKING:
    from prometheus_client import Metric

WORKER = "worker"
"""The label for a worker's number, where there are several."""

_OPENMETRICS = "application/openmetrics-text"
_INF = "+Inf"


def page(told: Mapping[str, samples.Node], accept: str) -> tuple[bytes, str]:
    """What these nodes tell, by their workers' numbers ("" for one that is alone), in the format
    that an `Accept` header asks for; and its media type."""
    # Imported where somebody asks: no other node or command needs it.
    from prometheus_client import exposition
    from prometheus_client.openmetrics import exposition as openmetrics

    collector = _Collector(told)
    if _OPENMETRICS in accept.lower():
        # No name here needs to be escaped; being told so, the library does not look for it.
        told_so = openmetrics.ALLOWUTF8
        text: bytes = openmetrics.generate_latest(collector, told_so)  # type: ignore[no-untyped-call]
        return text, openmetrics.CONTENT_TYPE_LATEST
    return exposition.generate_latest(collector), exposition.CONTENT_TYPE_PLAIN_0_0_4


class _Collector:
    """As the library asks it."""

    def __init__(self, told: Mapping[str, samples.Node]) -> None:
        self._told = told

    def collect(self) -> Iterator[Metric]:
        for row in catalogue.METRICS:
            found = _family(row, self._told)
            if found.samples:
                yield found


def _family(row: catalogue.Metric, told: Mapping[str, samples.Node]) -> Metric:
    """One metric of all these nodes."""
    from prometheus_client import Metric

    name = row.name.removesuffix("_total")
    family = Metric(name, row.meaning, row.kind, _unit(row, name))
    for worker, node in told.items():
        own = {WORKER: worker} if worker else {}
        for values, value in row.read(node):
            labels = {**own, **dict(zip(row.labels, values, strict=True))}
            if isinstance(value, Histogram):
                _add_histogram(family, labels, value, row.buckets)
            elif isinstance(value, samples.Sum):
                family.add_sample(f"{name}_count", labels, value.many)
                family.add_sample(f"{name}_sum", labels, value.total)
            else:
                family.add_sample(row.name, labels, value)
    return family


def _unit(row: catalogue.Metric, name: str) -> str:
    """The unit, which OpenMetrics tells where the name ends with it."""
    return row.unit if row.unit and name.endswith(f"_{row.unit}") else ""


def _add_histogram(
    family: Metric, labels: dict[str, str], value: Histogram, buckets: tuple[float, ...]
) -> None:
    count = value.count
    for bound, under in zip(buckets, value.under(buckets), strict=True):
        family.add_sample(f"{family.name}_bucket", {**labels, "le": str(bound)}, under)
    family.add_sample(f"{family.name}_bucket", {**labels, "le": _INF}, count)
    family.add_sample(f"{family.name}_count", labels, count)
    family.add_sample(f"{family.name}_sum", labels, value.total / SECOND)
