"""The root of the tree, and how a traceback becomes text."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from typing import Any

MAX_CHAIN = 16
"""Exceptions of a chain or a group that a trace tells."""


class HoldfastError(Exception):
    """Something went wrong in Holdfast."""

    code: str = "internal"
    status: int = 500
    retryable: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.code = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()

    def __init__(self, message: str | None = None, *, retry_after: float | None = None) -> None:
        """`retry_after` is a floor in seconds for the next try, where one is known."""
        self.message = message or _first_line(type(self))
        self.retry_after = retry_after
        super().__init__(self.message)


def named(code: str) -> type[HoldfastError]:
    """The class of the tree with this code; the root where there is none."""
    waiting = [HoldfastError]
    while waiting:
        kind = waiting.pop()
        if kind.code == code:
            return kind
        waiting += kind.__subclasses__()
    return HoldfastError


def meaning(code: str) -> str:
    """What the class with this code says of itself, for all errors that it is said of."""
    return _first_line(named(code))


def _first_line(kind: type[HoldfastError]) -> str:
    return (kind.__doc__ or "").partition("\n")[0]


def trace(error: BaseException | None) -> str:
    """The traceback as text for a log line: places, classes, and what our own errors say. Other
    exceptions quote what they met (`KeyError`, `ValueError`), which may be a key, a prompt or an
    answer, and so may a provider's text: these are left out, but for what the system says."""
    return "" if error is None else "".join(_told(error, set()))


def _told(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before = error.__cause__
    if before is None and not error.__suppress_context__:
        before = error.__context__
    if before is not None and _is_new(before, seen):
        yield from _told(before, seen)
        yield "\nAfter that:\n\n"
    if error.__traceback__ is not None:
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(error.__traceback__)
    kind, said = type(error), _said(error)
    name = kind.__qualname__
    name = name if kind.__module__ == "builtins" else f"{kind.__module__}.{name}"
    yield f"{name}: {said}\n" if said else f"{name}\n"
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            if _is_new(one, seen):
                yield from _told(one, seen)


def _is_new(error: BaseException, seen: set[int]) -> bool:
    return id(error) not in seen and len(seen) < MAX_CHAIN


def _said(error: BaseException) -> str:
    """What an exception says that is no value of anybody's."""
    if isinstance(error, HoldfastError):
        return "" if error.code.startswith("provider_") else error.message
    said = getattr(error, "strerror", None) or getattr(error, "sqlite_errorname", None)
    return said if isinstance(said, str) else ""
