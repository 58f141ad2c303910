"""One run with many nodes: a storm with lulls, a calm, and what all saw is judged.

Strategy: three nodes share Valkey with Sentinels, and PostgreSQL; readers and providers are in this
process. In the end each stream is read from Redis, event by event, and once more from PostgreSQL
when Redis has forgotten all: the checker holds both to each other and to what readers saw. A run in
which too little happened, or could be judged, has failed too.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
from tests.faults.chaos import book as books
from tests.faults.chaos import course, crowd, ending, keys, upstream, weather
from tests.faults.chaos import run as chaos
from tests.faults.cluster import breaking, machines, nodes, recovery, stores, texts

from holdfast.testing import checker

NODES = 3
READERS = (4, 5)
"""Of each stream from its beginning; one more comes to its end."""

APART = 3
"""Leases from lull to lull, at most half a run."""

ARCHIVED_SECONDS = 120.0
"""Until PostgreSQL has all that has ended."""

LONG = 200.0
"""Seconds of a run that has faults of every kind, and waits enough to speak of one in a hundred."""

MOST = 6
"""Times as long as asked for a storm lasts, where too little has happened by then."""

PAUSE, PAUSE_SHORT, DELAY = (5.0, 15.0), (0.5, 2.0), "8s"
"""Seconds between two rotations, at least and at most, in a short run too; and from a key's making
to its use: every node has looked at the ring by then."""

ALLOWANCE = 2.0
"""Seconds over the lease in which an answer is to go on elsewhere."""


class Options(msgspec.Struct, frozen=True):
    """`folder` is where files and the history go; `here` the address of all but the nodes; `lease`
    in seconds. `sealed`: what is kept is, and keys are rotated and destroyed."""

    folder: Path
    here: str
    seconds: float
    seed: int
    workers: int
    lease: float
    sealed: bool = False

    @property
    def long(self) -> bool:
        """Whether there is time for every kind of fault, and for figures."""
        return self.seconds >= LONG

    def goes_on(self, book: books.Book, cables: bool, lasted: float) -> bool:
        """Whether the storm does: a slow machine is no reason to test less."""
        if lasted < self.seconds:
            return True
        few = any(_few(book.faults, cables, self.long))
        deaf = not book.counts["lulls"] or book.lull
        return (few or deaf) and lasted < MOST * self.seconds


class Result(msgspec.Struct, frozen=True):
    """`waits` by how the node died, sorted; `archived_after`: seconds of calm until PostgreSQL had
    everything."""

    book: books.Book
    violations: list[checker.Violation]
    waits: dict[str, list[float]]
    killed: int
    archived_after: float
    skipped: list[str]


def run(options: Options, tell: course.Tell) -> Result:
    """Makes chaos, and says what came of it. Raises `RuntimeError` where a server is missing."""
    with stores.running(options.folder, options.here) as shared:
        return asyncio.run(_run(options, shared, tell))


async def _run(options: Options, shared: stores.Stores, tell: course.Tell) -> Result:
    book, seed, here = books.Book(), options.seed, options.here
    cables = here != machines.LOOPBACK
    lease = options.lease
    liveness = course.LIVENESS + lease * max(texts.LEASES)  # an answer may have just begun
    deaths: list[breaking.Death] = []
    archived_after = 0.0
    async with (
        upstream.Upstream(book, here) as provider,
        nodes.running(
            *(book, options.folder, NODES, here, shared, provider.port, seed),
            *(options.lease, options.sealed),
        ) as cluster,
    ):
        plan = crowd.Plan(functools.partial(texts.draw, lease), READERS)
        people = crowd.Crowd(book, seed, cluster.pick, provider, plan)
        made = breaking.Breaking(book, seed, cluster, shared, cables, lease)
        deaths = made.deaths
        lulls = weather.Lulls(min(APART * lease, options.seconds / 2), chaos.LULL, people.use_lull)
        storm = weather.Weather(book, made.loops(), lulls)
        watching = asyncio.create_task(made.watch())
        of_keys = _keys(options, book, cluster)
        try:
            async with of_keys.turning() if of_keys else contextlib.nullcontext():
                await course.run(
                    book,
                    storm,
                    people,
                    options.workers,
                    lambda lasted: options.goes_on(book, cables, lasted),
                    tell,
                    liveness,
                )
            archived_after = await _keep(book, cluster, shared, of_keys)
        except Exception as error:
            book.problem("".join(traceback.format_exception(error)))
        finally:
            watching.cancel()
    tell("judging")
    entries = book.whole()
    limits = {"liveness": liveness, "answer": chaos.ANSWER, "grace": chaos.GRACE}
    violations = checker.check(entries, now=book.now, **limits)
    chaos.count_judged(book, entries, provider.wanted)
    steady = {
        book.streams[wanted.label]
        for wanted in provider.wanted.values()
        if wanted.ending == "clean" and wanted.label in book.streams
    }
    waits = recovery.waits(entries, book.doors, deaths, steady)
    for found in waits.values():
        found.sort()
    waited = sum(map(len, waits.values()))
    for what in lacking(book.counts, book.faults, cables, waited, options.long):
        book.problem(what)
    if options.sealed:
        wanted = (keys.ROTATED, keys.PASSED, keys.DESTROYED) if options.long else (keys.ROTATED,)
        for what in keys.lacking(book.counts, wanted):
            book.problem(what)
    skipped = [] if cables else ["partitions: no network namespaces can be made"]
    killed = sum(node.killed for node in cluster.all)
    return Result(book, violations, waits, killed, archived_after, skipped)


def _keys(options: Options, book: books.Book, cluster: nodes.Nodes) -> keys.Keys | None:
    if not options.sealed:
        return None
    manner = keys.Manner(
        PAUSE if options.long else PAUSE_SHORT, DELAY, cluster.operators, turns_off=False
    )
    return keys.Keys(book, options.seed, cluster.config, cluster.operate, manner)


async def _keep(
    book: books.Book, cluster: nodes.Nodes, shared: stores.Stores, of_keys: keys.Keys | None
) -> float:
    """Reads Redis, and PostgreSQL once that has all and Redis nothing; after how many seconds it
    had. What is sealed is read from there without the old keys."""
    first = cluster.all[0].door(cluster.key)
    await ending.keep(book, first, "Redis")
    begun = time.monotonic()
    while await shared.archived() < len(book.streams) - book.counts[crowd.DESTROYED]:
        if time.monotonic() - begun > ARCHIVED_SECONDS:
            book.problem(f"PostgreSQL lacks streams after {ARCHIVED_SECONDS:g} s")
            break
        await asyncio.sleep(0.2)
    took = time.monotonic() - book.calm
    for node in cluster.all:
        await node.terminate()
    if of_keys is not None:
        await of_keys.destroy()
        await of_keys.check()
    await shared.do("FLUSHALL")
    last = cluster.all[-1]
    await last.start()
    await ending.keep(book, last.door(cluster.key), "PostgreSQL")
    return took


DEATHS = ("kill", "kill and start", "stop", "partition")
FAILOVERS = tuple(f"failover, primary {how}" for how in ("killed", "frozen", "behind"))
AWAY = ("PostgreSQL stopped", "PostgreSQL frozen")


def _few(faults: Counter[str], cables: bool, long: bool) -> Iterator[str]:
    """Which faults were too few: a long run has each kind."""
    deaths = DEATHS if cables else DEATHS[:-1]
    for kinds in (deaths, FAILOVERS, AWAY):
        missing = [kind for kind in kinds if not faults[kind]]
        if missing and (long or len(missing) == len(kinds)):
            yield f"deaf: there was no {', no '.join(missing)}"


def lacking(
    counts: Counter[str], faults: Counter[str], cables: bool, waited: int, long: bool
) -> Iterator[str]:
    """Why a run proves nothing, whatever was seen in it."""
    yield from _few(faults, cables, long)
    for name in (chaos.CANCELS, chaos.CURSORS):
        if not counts[name]:
            yield f"deaf: {name}: none"
    for store in ("Redis", "PostgreSQL"):
        complete, streams = counts[f"{store}: complete"], counts["streams"]
        if not complete or complete < streams / 2:
            yield f"deaf: of {streams} streams {complete} are complete in {store}"
    if long and not waited:
        yield "deaf: no reader saw its answer go on at another node"


def over(waits: dict[str, list[float]], lease: float) -> bool:
    """Whether one in a hundred waited for longer than was aimed at."""
    every = sorted(wait for found in waits.values() for wait in found)
    return bool(every) and recovery.percentile(every, 0.99) > lease + ALLOWANCE
