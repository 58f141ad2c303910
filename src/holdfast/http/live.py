"""The nodes as they are, once a second, for whoever watches.

Strategy: one task asks all nodes each second and makes one frame, the same bytes for all who watch;
it runs while somebody does, and a while longer, so that a page that is loaded anew finds its charts
as they were. A watcher that is slow misses frames and holds none up, as each tells everything that
there is to show. Rates are those of the second before, percentiles those of the last ten.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import msgspec

from holdfast import errors, events, sse
from holdfast.http import frames, neighbours, views
from holdfast.service import Service
from holdfast.telemetry import recent
from holdfast.telemetry.alerts import rounds

EVERY = 1.0
"""Seconds from one frame to the next."""

LOOKS = 1 + round(frames.SHARES / EVERY)
"""That are remembered of each node by itself."""

HISTORY = 300
"""Frames that are remembered."""

LINGER = 300.0
"""Seconds that frames are made for nobody."""

WATCHERS = 100
"""At a time."""

_encode = msgspec.json.Encoder().encode


class Live:
    """The frames of a node. `clock` gives ms since 1970."""

    def __init__(
        self,
        service: Service,
        clock: Callable[[], int] = events.now_ms,
        alerts: Callable[[], Sequence[rounds.Alert]] = tuple,
    ) -> None:
        self._service, self._clock, self._alerts = service, clock, alerts
        self._recent = recent.Recent()
        self._looks: deque[frames.Told] = deque(maxlen=LOOKS)
        self._history: deque[frames.Now] = deque(maxlen=HISTORY)
        self._watchers: dict[Watcher, None] = {}
        self._running = False
        self._frame: frames.Frame | None = None
        self.number, self.latest = 0, b""
        """How many frames there were, and the last one."""

    @property
    def full(self) -> bool:
        """As many watch as may."""
        return len(self._watchers) >= WATCHERS

    @contextlib.contextmanager
    def watched(self, wake: Callable[[], None]) -> Iterator[Watcher]:
        """Somebody watches, who is woken at each frame. Raises `errors.Overloaded`."""
        if self.full:
            raise errors.Overloaded
        watcher = Watcher(self, wake)
        self._watchers[watcher] = None
        if not self._running:
            self._running = True
            self._service.supervisor.job(self._run(), "live")
        try:
            yield watcher
        finally:
            del self._watchers[watcher]

    async def _run(self) -> None:
        """Ends when nobody has watched for a while."""
        loop = asyncio.get_running_loop()
        due = wanted = loop.time()
        try:
            while self._watchers or loop.time() - wanted <= LINGER:
                if self._watchers:
                    wanted = loop.time()
                await self._look()
                for watcher in tuple(self._watchers):
                    watcher.wake()
                due = max(due + EVERY, loop.time())
                await asyncio.sleep(due - loop.time())
        finally:
            self._running = False
            self._looks.clear()
            self._recent = recent.Recent()

    async def _look(self) -> None:
        try:
            counted, nodes = await neighbours.totals_of_all(self._service, neighbours.Totals())
        except errors.LogUnavailable:  # so the others cannot be asked; this one can say so
            counted, nodes = neighbours.own_totals(self._service)
        # A node alone counts under a name that is not shown.
        names = [one.id for one in nodes if one.answered]
        told = dict(zip(names, counted.values(), strict=True))
        now = self._clock()
        seen = {name: recent.Seen(one.vitals.started_at, one.total) for name, one in told.items()}
        self._recent.add(asyncio.get_running_loop().time(), seen, now)
        kinds = self._service.providers.kinds
        alerts = [views.alert(one) for one in self._alerts()]
        self._looks.append(told)
        before = self._looks[0]
        self._frame = frames.frame(now, told, before, nodes, self._recent, kinds, alerts)
        self._history.append(self._frame.now)
        self.number, self.latest = self.number + 1, _event(self._frame)

    def whole(self) -> bytes:
        """The last frame, with what was shown before it."""
        if self._frame is None:
            return self.latest
        return _event(msgspec.structs.replace(self._frame, history=list(self._history)))


class Watcher:
    """One who watches; woken by `wake`."""

    def __init__(self, live: Live, wake: Callable[[], None]) -> None:
        self._live, self.wake = live, wake
        self._seen = 0

    def take(self) -> bytes:
        """The latest frame, once; nothing where there is none that is new."""
        live, seen = self._live, self._seen
        if live.number == seen:
            return b""
        self._seen = live.number
        return live.latest if seen else live.whole()


def _event(frame: frames.Frame) -> bytes:
    return sse.encode(_encode(frame), event="snapshot")
