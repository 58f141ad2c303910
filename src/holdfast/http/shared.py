"""Bytes that all clients of a node hold together: of bodies that come, of answers that wait.

Strategy: beyond the bound the tenant that holds most loses what it has added nothing to for the
longest time. So nobody loses anything for what others hold, as long as these hold more; and who
brings no key is of one tenant with all who bring none. Each call takes the same time however many
there are, but where something goes. To end it is the caller's.
"""

from __future__ import annotations

import collections
from typing import Generic, Protocol, TypeVar


class Holder(Protocol):
    """Whoever holds bytes, as somebody of a tenant."""

    @property
    def tenant(self) -> str: ...


H = TypeVar("H", bound=Holder)


class Shared(Generic[H]):
    """At most so many bytes, but for one that is alone."""

    def __init__(self, most: int) -> None:
        self._most, self._sum = most, 0
        self._sums = collections.Counter[str]()
        # By tenant, in the order in which they added something last.
        self._of: dict[str, collections.OrderedDict[H, int]] = {}
        self._tenants: dict[H, str] = {}

    def put(self, holder: H, size: int) -> list[H]:
        """It holds so many bytes from now on. Gives those who are to be ended for that, and count
        no more; this one may be among them."""
        tenant = self._tenants.setdefault(holder, holder.tenant)
        mine = self._of.setdefault(tenant, collections.OrderedDict())
        self._add(tenant, size - mine.pop(holder, 0))
        mine[holder] = size
        ended = list[H]()
        while self._sum > self._most and len(self._tenants) > 1:
            (most, _), *_ = self._sums.most_common(1)
            ended.append(next(iter(self._of[most])))
            self.drop(ended[-1])
        return ended

    def _add(self, tenant: str, change: int) -> None:
        self._sum += change
        self._sums[tenant] += change

    def drop(self, holder: H) -> None:
        """It holds nothing any more. Idempotent."""
        tenant = self._tenants.pop(holder, None)
        if tenant is not None:
            mine = self._of[tenant]
            self._add(tenant, -mine.pop(holder))
            if not mine:
                del self._of[tenant], self._sums[tenant]
