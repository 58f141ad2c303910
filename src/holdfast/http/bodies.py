"""What all bodies that come hold together.

Strategy: who reads a body says so piece by piece. Beyond the bound the tenant that holds most loses
the body that has brought nothing for the longest time; so nobody loses one for what others hold, as
long as he holds less than they. What nobody reads yet is the server's affair (`http.server.door`).
"""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Callable, Iterator

MOST = 64 * 1024 * 1024
"""Bytes of all bodies together; or twice what one may have, if that is more."""

Cut = Callable[[], None]


class _Body:
    """`cut` ends its connection; `over` where it counts no more."""

    __slots__ = ("cut", "over", "size", "tenant")

    def __init__(self, tenant: str, cut: Cut) -> None:
        self.tenant, self.cut = tenant, cut
        self.size, self.over = 0, False


class Bodies:
    """Those of one node."""

    def __init__(self, max_body: int) -> None:
        self._most, self._sum = max(MOST, 2 * max_body), 0
        self._sums = collections.Counter[str]()
        # By tenant, in the order in which they brought something last.
        self._of: dict[str, collections.OrderedDict[_Body, None]] = {}

    @contextlib.contextmanager
    def one(self, tenant: str, cut: Cut) -> Iterator[Callable[[int], None]]:
        """Counts a body of this tenant's, until the block ends. What it gives is to be called with
        the size of each piece; it may be this body that is cut."""
        body = _Body(tenant, cut)
        try:
            yield lambda size: self._came(body, size)
        finally:
            self._drop(body)

    def _came(self, body: _Body, size: int) -> None:
        if body.over:
            return  # it was cut, and this was on its way
        self._count(body, size)
        mine = self._of.setdefault(body.tenant, collections.OrderedDict())
        mine[body] = None
        mine.move_to_end(body)
        while self._sum > self._most:
            (most, _), *_ = self._sums.most_common(1)
            first = next(iter(self._of[most]))
            self._drop(first)
            first.cut()

    def _count(self, body: _Body, size: int) -> None:
        body.size += size
        self._sum += size
        self._sums[body.tenant] += size

    def _drop(self, body: _Body) -> None:
        body.over = True
        mine = self._of.get(body.tenant)
        if mine is not None and body in mine:
            del mine[body]
            self._count(body, -body.size)
            if not mine:
                del self._of[body.tenant], self._sums[body.tenant]
