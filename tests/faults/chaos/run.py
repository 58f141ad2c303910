"""One run: a storm with lulls, a calm in which everything must come to its end, and the verdict.

Strategy: the server is a real process with a SQLite log; readers and provider are in this one,
each behind a fault proxy. The storm lasts as long as was asked for, and longer, at most twice as
long, until there were faults and kills enough: a slow machine is no reason to test less. Then
all is healed, all readers must end, and the log is read twice, before and after a last kill.
A run in which too little happened, or could be judged, has failed too: it was deaf.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import msgspec
from tests.faults.chaos import book as books
from tests.faults.chaos import (
    breaking,
    course,
    crowd,
    ending,
    judging,
    keys,
    texts,
    upstream,
    weather,
    wire,
)
from tests.faults.chaos import node as nodes

from holdfast.testing import checker, fault_proxy, history
from holdfast.testing.invariants import verdict

ANSWER, GRACE = 3.0, 3.0
"""Seconds for a bad cursor's answer and after a cancel. The product promises one; the machine
has other work."""

CALM_SHARE = 0.1
"""Of the time asked for; the calm takes about so much."""

LULL = GRACE + 3.0
"""Seconds of a lull: what may be late, and before it a stream that begins and is cancelled."""

APART = 30.0
"""Seconds from lull to lull, and in a short run half of it."""

FAULTS, KILLS, JUDGED = 200 / 180, 40 / 180, 4 / 180
"""A second, at least; `JUDGED` of cancels and of made-up cursors, in the storm, each."""

COMPLETE = 0.1
"""Of the streams, at least."""

CANCELS = "cancels judged while it stormed"
CURSORS = "bad cursors judged while it stormed"
"""What is counted of it."""

SMALL = "64m"
"""Size of the file system that is filled up."""


class Options(msgspec.Struct, frozen=True):
    """`folder` is where the server's files and the history go. `sealed`: they are, and keys are
    rotated and destroyed."""

    folder: Path
    seconds: float = 180.0
    seed: int = 0
    workers: int = 24
    sealed: bool = False
    progress: Callable[[str], None] = lambda line: None


class Result(msgspec.Struct, frozen=True):
    """`skipped` are faults that this machine does not allow."""

    book: books.Book
    violations: list[checker.Violation]
    faults: Counter[str]
    killed: int
    starts: list[float]
    skipped: list[str]


async def run(options: Options) -> Result:
    """Makes chaos, and says what came of it."""
    book = books.Book()
    with _small(options.folder) as small:
        log = (small or options.folder) / "log.db"
        async with (
            upstream.Upstream(book) as provider,
            fault_proxy.FaultProxy(provider.port, seed=options.seed) as vendors,
            fault_proxy.FaultProxy(0, seed=options.seed) as readers,
            _node(book, options, log, vendors, readers) as node,
        ):
            loops = [breaking.Process(book, options.seed, node, small).loop()]
            for name, proxy in (("reader", readers), ("provider", vendors)):
                loops.append(breaking.Network(book, f"{options.seed} {name}", name, proxy).loop())
            people = crowd.Crowd(book, options.seed, lambda: wire.Door(readers.port), provider)
            lulls = weather.Lulls(min(APART, options.seconds / 2), LULL, people.use_lull)
            made = weather.Weather(book, loops, lulls)
            of_keys = keys.Keys(book, options.seed, node.config, lambda: wire.Door(node.port))
            try:
                async with of_keys.turning() if options.sealed else contextlib.nullcontext():
                    await course.run(
                        book,
                        made,
                        people,
                        options.workers,
                        lambda lasted: _goes_on(options, book, node, lasted),
                        options.progress,
                    )
                await _keep(book, node, of_keys if options.sealed else None)
            except Exception as error:
                # A server that does not start, or has no answer, is what is looked for: all
                # that was seen until then is judged.
                book.problem("".join(traceback.format_exception(error)))
    entries = book.whole()
    violations = checker.check(
        entries, now=book.now, liveness=course.LIVENESS, answer=ANSWER, grace=GRACE
    )
    count_judged(book, entries, provider.wanted)
    for what in lacking(options.seconds, book.faults.total(), node.killed, book.counts):
        book.problem(what)
    if options.sealed:
        for what in keys.lacking(book.counts, (keys.ROTATED, keys.DESTROYED)):
            book.problem(what)
    skipped = [] if small else ["disk full: no file system could be mounted"]
    if node.faketime is None:
        skipped.append("clock: libfaketime is not installed")
    return Result(book, violations, book.faults, node.killed, node.starts, skipped)


async def _keep(book: books.Book, node: nodes.Node, of_keys: keys.Keys | None) -> None:
    """Reads the log, and once more as another process finds it, without the old keys."""
    await ending.keep(book, wire.Door(node.port), "log")
    await node.kill()
    if of_keys is not None:
        await of_keys.destroy()
        await of_keys.check()
    await node.start()
    await ending.keep(book, wire.Door(node.port), "log after a kill")
    await node.terminate()


def _goes_on(options: Options, book: books.Book, node: nodes.Node, lasted: float) -> bool:
    storm = options.seconds * (1 - CALM_SHARE)
    if lasted < storm:
        return True
    few = any(_few(options.seconds, book.faults.total(), node.killed))
    return few and lasted < 2 * storm


def count_judged(
    book: books.Book, entries: list[history.Entry], wanted: Mapping[str, texts.Wanted]
) -> None:
    """Into the book: how much of the storm the rules about time could judge."""
    end = min(book.calm, book.now)
    limits = verdict.Limits(now=end, liveness=course.LIVENESS, answer=ANSWER, grace=GRACE)
    # The provider of the others is not seen, or fails.
    spoken = [one for one in wanted.values() if one.ours and one.ending == "clean"]
    speaks = {book.streams.get(one.label, one.label): one.seconds for one in spoken}
    book.counts[CANCELS] = judging.cancels(entries, speaks, limits)
    book.counts[CURSORS] = judging.bad_cursors(entries, limits)


def lacking(seconds: float, faults: int, killed: int, counts: Mapping[str, int]) -> Iterator[str]:
    """Why a run of so many seconds proves nothing, whatever was seen in it."""
    yield from _few(seconds, faults, killed)
    for name in (CANCELS, CURSORS):
        if counts[name] < JUDGED * seconds:
            yield f"deaf: {name}: {counts[name]}"
    complete, streams = counts["log: complete"], counts["streams"]
    if not complete or complete < COMPLETE * streams:
        yield f"deaf: of {streams} streams {complete} became complete"


def _few(seconds: float, faults: int, killed: int) -> Iterator[str]:
    if faults < FAULTS * seconds or killed < KILLS * seconds:
        yield f"too few faults: {faults}, {killed} killed"


@contextlib.asynccontextmanager
async def _node(
    book: books.Book,
    options: Options,
    log: Path,
    vendors: fault_proxy.FaultProxy,
    readers: fault_proxy.FaultProxy,
) -> AsyncIterator[nodes.Node]:
    node = nodes.Node(book, options.folder, log, vendors.port, readers, options.sealed)
    try:
        await node.start()
        yield node
    finally:
        await node.close()


@contextlib.contextmanager
def _small(folder: Path) -> Iterator[Path | None]:
    """A folder on a small file system of its own, or None where none may be mounted."""
    small = folder / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield small
    finally:
        subprocess.run(["umount", str(small)], check=True)
