"""A node that has something to tell of everything, for the tests of metrics."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from holdfast.telemetry import counts, histogram, samples, vitals

PROVIDERS: Mapping[str, str] = {"main": "openai", "spare": "mistral", "demo": "demo"}


def times(*ms: float) -> histogram.Histogram:
    """Samples of so many milliseconds."""
    recorder = histogram.Recorder()
    for one in ms:
        recorder.add(int(one * 1000))
    return recorder.histogram()


CALLS = counts.Calls(
    1,
    9,
    {"provider_timeout": times(1100, 40)},
    times(40, 900, 1100),
    times(80),
    times(20, 20),
    70,
    50,
    10,
    5,
)

COUNTED = counts.Counts(
    streams_active=2,
    streams_started=10,
    streams_adopted=1,
    streams_completed=6,
    streams_error=2,
    streams_cancelled=1,
    fallbacks=3,
    refused={"late": 4},
    errors={"provider_timeout": 1, "token_limit": 1},
    duration=times(100, 200, 30_000),
    first_chunk=times(1, 2, 3),
    written_chunks=40,
    written_bytes=400,
    connections_active=4,
    connections_opened=20,
    connections_resumed=5,
    connections_continued=3,
    connections_missed=1,
    connections_dropped=2,
    sent_chunks=80,
    sent_bytes=900,
    chunk_latency=times(0.5, 1, 1, 70, 40_000),
    calls={"main/gpt-*": CALLS, "demo/demo": counts.Calls(begun=1)},
    cpu_us=2_500_000,
    appends=times(0.1, 0.2),
    loop_lag=times(0, 3),
    rtt_us=90_000,
    rtt_count=3,
    retransmissions=7,
    packets_lost=2,
    sockets_seen=6,
    coded={"gzip": counts.Coded(200, 1000), "br": counts.Coded(100, 300)},
)

VITALS = vitals.Vitals(
    version="1.2.3",
    started_at=1_790_000_000_500,
    engine="redis",
    connection_limit=1000,
    busy=0.25,
    memory=50_000_000,
    memory_at_start=40_000_000,
    open_files=33,
    log_failing=True,
    draining=False,
    breakers={"main": "half_open", "demo": "closed"},
    passed_over=("main",),
)

NODE = samples.Node(COUNTED, VITALS, PROVIDERS, 1500, 8, 9, 3_600_500, 12, True)

SILENT = samples.Node(
    counts.NOTHING,
    msgspec.structs.replace(
        VITALS, memory=None, open_files=None, breakers={}, passed_over=(), log_failing=False
    ),
    {"demo": "demo"},
    0,
    0,
    0,
)
"""One where nothing has happened yet, on a system that tells nothing."""
