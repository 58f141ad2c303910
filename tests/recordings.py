"""Replays a folder of recorded provider answers through a running server and compares.

    python -m tests.recordings ../shared/recordings

Each recording is played by a provider on loopback, over real HTTP, in four fragmentations, and
read from the server as a client reads it. The table has a row for each thing compared; the
fragmentations that gave the same stand in one row, and what is empty on both sides in one row
with its like. Exit code 0: all as expected; 1: something differs; 2: nothing to compare.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import structlog
import uvloop
from tests.integration import replaying

from holdfast import errors
from holdfast.testing import recordings

Line = tuple[str, str, str, str, str, str]

HEADINGS: Line = ("file", "cut", "compared", "expected", "got", "")
WIDTH = 40
"""Characters of a value in the table."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    options = _options(arguments)
    folder: Path = options.folder
    try:
        if not folder.is_dir():
            raise ValueError("it is no folder")
        found = recordings.load_recordings(folder)
        if not any(replaying.why_not(recording) is None for recording in found):
            raise ValueError("it has no recording that can be played; see tests/fixtures")
    except (OSError, ValueError, LookupError) as error:
        print(f"recordings: {folder}: {error}", file=sys.stderr)
        return 2
    progress = _Progress(quiet=options.quiet)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            checks = runner.run(replaying.check_all(found, options.log_url, progress))
    except (errors.HoldfastError, ValueError) as error:
        print(f"recordings: the server does not start: {error}", file=sys.stderr)
        return 2
    finally:
        progress.end()
    print("\n".join(report(checks, found)))
    return 0 if all(check.ok for check in checks) else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.recordings",
        description="Replays recorded provider answers through a running server and compares "
        "text, reasoning, tool calls, raw finish reason, usage, error class and the proof.",
        epilog="Exit code 0: all as expected; 1: something differs; 2: nothing to compare.",
    )
    parser.add_argument(
        "folder",
        type=Path,
        metavar="DIR",
        help="KIND/NAME.sse, .jsonl or .json, each with its NAME.expected.json",
    )
    parser.add_argument("--log-url", default="memory://", help="event log (default: %(default)s)")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return parser.parse_args(arguments)


class _Progress:
    """One line that renews itself on a terminal; elsewhere a line a hundred answers."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet, self._count = quiet, 0
        self._renews = sys.stderr.isatty()

    def __call__(self, said: str) -> None:
        self._count += 1
        if self._quiet:
            return
        if self._renews:
            print(f"\r\x1b[K{said[:100]}", end="", file=sys.stderr, flush=True)
        elif self._count % 100 == 0:
            print(said, file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._renews and not self._quiet:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def report(
    checks: Sequence[replaying.Check], found: Iterable[recordings.Recording]
) -> Iterator[str]:
    """The table, then what was corrected, what was not played, and the sum."""
    by_file: dict[str, list[replaying.Check]] = {}
    for check in checks:
        by_file.setdefault(check.file, []).append(check)
    yield from _table([line for each in by_file.values() for line in _lines(each)])
    notes = {f"{check.file}, {check.what}: {check.note}": None for check in checks if check.note}
    for note in notes:
        yield f"corrected  {note}"
    left_out = 0
    for recording in found:
        reason = replaying.why_not(recording)
        if reason is not None:
            left_out += 1
            yield f"not played {recording.kind}/{recording.name}: {reason}"
    wrong = sum(not check.ok for check in checks)
    yield (
        f"{len(by_file)} recordings, {len(checks)} comparisons: "
        f"{wrong} differ; {left_out} recordings not played"
    )


def _lines(checks: Sequence[replaying.Check]) -> Iterator[Line]:
    """The rows of one file."""
    cuts = {check.fragmentation for check in checks}
    grouped: dict[tuple[str, str, str], list[replaying.Check]] = {}
    for check in checks:
        key = (check.what, repr(check.expected), repr(check.got))
        grouped.setdefault(key, []).append(check)
    silent = []
    for same in grouped.values():
        check, in_all = same[0], len(same) == len(cuts)
        if check.ok and in_all and not check.expected:
            silent.append(check.what)
            continue
        cut = f"all {len(cuts)}" if in_all else ", ".join(each.fragmentation for each in same)
        verdict = "ok" if check.ok else "DIFFERS"
        expected, got = _shown(check.expected, check.got)
        yield check.file, cut, check.what, expected, got, verdict
    if silent:
        yield checks[0].file, f"all {len(cuts)}", ", ".join(silent), "none", "none", "ok"


def _shown(expected: Any, got: Any) -> tuple[str, str]:
    """Both values, cut; those that differ from a little before where they differ."""
    both = [_plain(expected), _plain(got)]
    begin = 0
    if expected != got:
        pairs = zip(*both, strict=False)
        begin = next((n for n, (a, b) in enumerate(pairs) if a != b), min(map(len, both)))
        begin = max(0, begin - WIDTH // 2)
    return _cut(both[0], begin), _cut(both[1], begin)


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_plain, value)) or "none"
    return "none" if value in (None, "") else str(value)


def _cut(text: str, begin: int) -> str:
    visible = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    if len(visible) <= WIDTH:
        return visible
    size = f" ({len(text)})"
    head = "…" if begin else ""
    return f"{head}{visible[begin:][: WIDTH - len(size) - 1 - len(head)]}…{size}"


def _table(lines: Sequence[Line]) -> Iterator[str]:
    rows = [HEADINGS, *lines]
    widths = [max(len(row[n]) for row in rows) for n in range(len(HEADINGS))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


if __name__ == "__main__":
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    sys.exit(main())
