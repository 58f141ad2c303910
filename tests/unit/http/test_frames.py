"""A frame: what all nodes have told, put together, at the rates of the last seconds."""

from __future__ import annotations

from holdfast.archiving import keeper
from holdfast.http import frames, neighbours, views
from holdfast.telemetry import counts, recent, vitals
from holdfast.telemetry.histogram import Histogram

QUIET = keeper.State(None, 0, None, False, 0, 0)
ALIVE = vitals.Vitals("1.0", 5, "memory", 100, 0.25, 50 << 20, 40 << 20, 9, False, False, {})
KINDS = {"acme": "openai_chat", "demo": "demo"}


def told(counted: counts.Counts, alive: vitals.Vitals = ALIVE) -> neighbours.Counted:
    return neighbours.Counted(counted, {}, QUIET, alive)


def changed(**fields: object) -> vitals.Vitals:
    return vitals.Vitals(**{**{n: getattr(ALIVE, n) for n in ALIVE.__struct_fields__}, **fields})


def shown(*looks: dict[str, neighbours.Counted], silent: tuple[str, ...] = ()) -> frames.Frame:
    """After these looks, a second apart."""
    lately = recent.Recent()
    for at, nodes in enumerate(looks):
        seen = {name: recent.Seen(one.vitals.started_at, one.total) for name, one in nodes.items()}
        lately.add(float(at), seen, at * 1000)
    last = looks[-1]
    known = [views.NodeView(name, True) for name in last]
    known += [views.NodeView(name, False) for name in silent]
    return frames.frame(1000 * len(looks), last, looks[0], known, lately, KINDS)


def test_rates_are_those_of_the_last_second_of_all_nodes() -> None:
    def after(second: int) -> neighbours.Counted:
        return told(
            counts.Counts(
                streams_active=3,
                connections_active=4,
                streams_started=second,
                streams_error=2 * second,
                sent_chunks=100 * second,
                sent_bytes=1000 * second * second,
                fallbacks=3 * second,
                connections_resumed=4 * second,
                connections_dropped=5 * second,
            )
        )

    now = shown(*({"a": after(n), "b": after(n)} for n in range(4))).now
    assert (now.at, now.streams_active, now.connections_active) == (4000, 6, 8)
    assert (now.started_per_second, now.errors_per_second) == (2.0, 4.0)
    assert (now.chunks_per_second, now.bytes_per_second) == (200.0, 10_000.0)
    assert (now.fallbacks_per_second, now.resumes_per_second) == (6.0, 8.0)
    assert now.drops_per_second == 10.0


def test_percentiles_are_of_all_nodes_samples_together() -> None:
    fast = counts.Counts(chunk_latency=Histogram({1000: 98}, 98_000))
    slow = counts.Counts(chunk_latency=Histogram({900_000: 2}, 1_800_000))
    nothing = {"a": told(counts.NOTHING), "b": told(counts.NOTHING)}
    found = shown(nothing, {"a": told(fast), "b": told(slow)}).now.chunk_latency_ms
    assert found == frames.Shares(1.0, 1.0, 900.0, 100)
    assert shown(nothing, nothing).now.chunk_latency_ms == frames.Shares(None, None, None, 0)


def test_a_provider_is_shown_with_all_its_models_and_its_worst_breaker() -> None:
    calls = {
        "acme/big": counts.Calls(
            1, 5, {"x": Histogram({10: 2}, 9)}, input_tokens=10, output_tokens=20
        ),
        "acme/other": counts.Calls(0, 7, {"y": Histogram({20: 1}, 19)}, output_tokens=5),
        "acmes/big": counts.Calls(9, 9),
    }
    nodes = {
        "a": told(counts.Counts(calls=calls), changed(breakers={"acme": "half_open"})),
        "b": told(counts.NOTHING, changed(breakers={"acme": "open", "demo": "closed"})),
    }
    acme, demo = shown(nodes).providers
    assert (acme.name, acme.kind, acme.breaker) == ("acme", "openai_chat", "open")
    assert (acme.active, acme.calls, acme.errors) == (1, 12, 3)
    assert (acme.input_tokens, acme.output_tokens) == (10, 25)
    assert (demo.calls, demo.breaker) == (0, "closed")


def test_a_node_that_has_not_answered_has_its_name_alone() -> None:
    counted = counts.Counts(streams_active=2)
    found = shown({"a": told(counted)}, silent=("b",)).nodes
    assert [(one.id, one.streams_active) for one in found] == [("a", 2), ("b", None)]
    assert found[1] == frames.NodeView("b", False)


def test_what_a_node_costs_is_what_it_has_cost_lately() -> None:
    before = counts.Counts(sent_chunks=10, cpu_us=90_000, loop_lag=Histogram({9000: 3}, 27_000))
    after = counts.Counts(
        sent_chunks=110, cpu_us=94_210, loop_lag=Histogram({9000: 3, 20: 5}, 27_100)
    )
    (node,) = shown({"a": told(before)}, {"a": told(after)}).nodes
    assert (node.cpu_us_per_chunk, node.loop_lag_ms) == (42.1, frames.Shares(0.02, 0.02, 0.02, 5))
    (anew,) = shown({"a": told(before)}, {"a": told(after, changed(started_at=7))}).nodes
    assert anew.loop_lag_ms is not None
    assert anew.loop_lag_ms.count == 8


def test_capacity_is_what_is_left_and_what_one_more_costs() -> None:
    def node(active: int, chunks: int, grown: int | None) -> neighbours.Counted:
        memory = None if grown is None else (40 << 20) + grown
        counted = counts.Counts(
            streams_active=active,
            connections_active=active + 1,
            sent_chunks=chunks,
            cpu_us=40 * chunks,
        )
        return told(counted, changed(memory=memory, busy=active / 100))

    before = {"a": node(0, 0, 0), "b": node(0, 0, 0)}
    found = shown(before, {"a": node(20, 50, 600 << 10), "b": node(10, 10, 300 << 10)}).capacity
    assert found == frames.Capacity(30, 200 - 32, 40.0, 30.0, 0.2)
    few = shown(before, {"a": node(9, 0, 900 << 10)}).capacity
    assert (few.cpu_us_per_chunk, few.kb_per_stream) == (None, None)
    hidden = shown(before, {"a": node(20, 1, 1), "b": node(20, 1, None)}).capacity
    assert hidden.kb_per_stream is None


def test_totals_are_since_the_nodes_began() -> None:
    counted = counts.Counts(streams_started=4, fallbacks=2, errors={"a": 1, "b": 2})
    totals = shown({"a": told(counted), "b": told(counted)}).totals
    assert (totals.streams.started, totals.errors, totals.fallbacks) == (8, 6, 4)
