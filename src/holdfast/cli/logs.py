"""What a server says of itself: log lines, and how they are written.

Strategy: all configuration of logging is here, and only a process that is ours is configured: who
embeds Holdfast has ways of his own. What the product logs comes through structlog and what
libraries log through `logging`; both become one mapping, which begins with the same keys, and are
drawn by the same pure functions. A line is whole, whatever is in it, and tells no exception's
arguments, which may be a prompt or a key. A line that cannot be written hurts nobody.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

import structlog

from holdfast import errors, events, settings
from holdfast.access import keys

MAX_MESSAGE = 2000
"""Characters of what a library says."""

Facts = dict[str, Callable[[], str | int]]
"""What every line has from now on, by its name: asked when a line is written."""

Line = Mapping[str, Any]
Draw = Callable[[Line], str]

_LEVELS = (logging.CRITICAL, logging.ERROR, logging.WARNING)
# Who puts a key where an id belongs shows it to whoever reads the path.
_KEY = re.compile(rf"{keys.PREFIX}\w+")
_SIMPLE = re.compile(r"[A-Za-z0-9_.:/@%+-]+")
_log = structlog.get_logger("holdfast")


def configure(said: settings.Monitoring) -> Facts:
    """Has this process, and those that it becomes by a fork, log as these settings say. What the
    caller puts into the result is in every line."""
    facts = Facts()
    draw = as_json if is_json(said, sys.stderr) else for_people

    def finish(_: object, level: str, entry: structlog.typing.EventDict) -> str:
        began = {"timestamp": events.rfc3339(events.now_ms()), "level": level}
        event, asked = entry.pop("event"), {name: fact() for name, fact in facts.items()}
        line = {**began, "event": event, **asked, **entry}
        drawn = draw({name: value for name, value in line.items() if value is not None})
        return _KEY.sub(f"{keys.PREFIX}...", drawn)

    number = logging.getLevelNamesMapping()[said.log_level.upper()]
    out = _Out(sys.stderr)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: out,
        processors=[finish],
    )
    least = max(number, logging.WARNING)
    logging.basicConfig(level=least, handlers=[_Libraries(least)])
    sys.excepthook = lambda _kind, error, _trace: _unhandled("process", error)
    sys.unraisablehook = lambda found: _unhandled("finalizer", found.exc_value)
    threading.excepthook = _unhandled_in_thread
    return facts


def aside() -> None:
    """For a command: what is logged is no part of what it prints."""
    if not structlog.is_configured():
        structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """While a command does what would log a line for each stream."""
    before = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(wrapper_class=before)


def is_json(said: settings.Monitoring, stream: IO[str] | None) -> bool:
    """Whether lines are for programs: by default where no person sees them come."""
    if said.log_format == "auto":
        return stream is None or not stream.isatty()
    return said.log_format == "json"


def as_json(line: Line) -> str:
    """In ASCII alone, so that no terminal and no splitter of lines reads anything into it."""
    finite = {name: value for name, value in line.items() if not _is_no_number(value)}
    return _encode(finite)


def _kind(value: object) -> str:
    """What is said of a value whose text nobody has vouched for."""
    return type(value).__qualname__


_encode = json.JSONEncoder(separators=(",", ":"), default=_kind).encode


def _is_no_number(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def for_people(line: Line) -> str:
    """Key and value behind time, level and event; a traceback below."""
    own = dict(line)
    trace = str(own.pop("trace", ""))
    first = f"{own.pop('timestamp')} {own.pop('level'):<8} {own.pop('event')}"
    said = " ".join([first, *(f"{name}={_spelled(value)}" for name, value in own.items())])
    return "\n    ".join([said, *map(_harmless, trace.splitlines())])


def _spelled(value: object) -> str:
    if isinstance(value, str):
        return value if _SIMPLE.fullmatch(value) else repr(value)
    return str(value) if isinstance(value, int | float) else _kind(value)


def _harmless(text: str) -> str:
    return "".join([each if each.isprintable() else repr(each)[1:-1] for each in text])


class _Out:
    """Lines, each whole, from any thread. There may be no stream, or one that nobody reads."""

    def __init__(self, stream: IO[str] | None) -> None:
        self._stream, self._lock = stream, threading.RLock()

    def write(self, line: str) -> None:
        with self._lock, contextlib.suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.write(f"{line}\n")
                self._stream.flush()

    debug = info = warning = error = critical = write


class _Libraries(logging.Handler):
    """What others log, each as a line of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        _log.log(
            next(level for level in _LEVELS if level <= record.levelno),
            "library_logged",
            logger=record.name,
            message=_message(record)[:MAX_MESSAGE],
            trace=None if error is None else errors.trace(error),
        )


def _message(record: logging.LogRecord) -> str:
    """With the class of each exception in the place of what that says."""
    args, text = record.args, str(_named(record.msg))
    if not args:
        return text
    try:
        if isinstance(args, Mapping):
            return text % {name: _named(value) for name, value in args.items()}
        return text % tuple(map(_named, args))
    except Exception:  # theirs, and no reason for us to fail
        return text


def _named(value: object) -> object:
    return _kind(value) if isinstance(value, BaseException) else value


def _unhandled(where: str, error: BaseException | None) -> None:
    """An exception reaches nobody; Python would tell its arguments too."""
    _log.error("exception_unhandled", where=where, trace=errors.trace(error))


def _unhandled_in_thread(found: threading.ExceptHookArgs) -> None:
    if found.exc_type is not SystemExit:
        _unhandled("thread", found.exc_value)
