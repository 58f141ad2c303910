"""Connections in the order in which they came; also those of one tenant, and of one user.

Strategy: each is kept under three names, so that what one tenant or user is told costs nothing of
what others have.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Generic, Protocol, TypeVar

from holdfast.access import principal


class Owned(Protocol):
    """What can be kept: `owner` is that of the stream."""

    id: str
    owner: str


T = TypeVar("T", bound=Owned)


class Shelf(Generic[T]):
    """By their ids."""

    def __init__(self) -> None:
        self._all: OrderedDict[str, T] = OrderedDict()
        self._of: dict[tuple[str, str | None], OrderedDict[str, T]] = {}

    def __len__(self) -> int:
        return len(self._all)

    @property
    def oldest_first(self) -> Collection[T]:
        return self._all.values()

    def find(self, id: str) -> T | None:
        return self._all.get(id)

    def put(self, one: T) -> None:
        self._all[one.id] = one
        for name in _names(one):
            self._of.setdefault(name, OrderedDict())[one.id] = one

    def take(self, id: str) -> bool:
        """Whether it was there."""
        found = self._all.pop(id, None)
        if found is None:
            return False
        for name in _names(found):
            del self._of[name][id]
            if not self._of[name]:
                del self._of[name]
        return True

    def newest(self, tenant: str | None, user: str | None) -> Iterable[T]:
        """Those of a tenant, of one user of it, or all: the newest first."""
        shelf = self._all if tenant is None else self._of.get((tenant, user))
        return () if shelf is None else reversed(shelf.values())


def _names(one: Owned) -> tuple[tuple[str, str | None], ...]:
    tenant, user = principal.parted(one.owner)
    return (tenant, None), (tenant, user)
