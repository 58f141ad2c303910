"""The one owner of tasks.

Strategy: whoever needs a task asks here and gives it a name. A `job` is finite (a producer, a
watcher of one connection); its failure is a bug that is logged and hurts only itself. A
`service` is eternal (the ticker, the poll); if it ends unasked, the node stops loudly, by
`fatal`. The event loop keeps only weak references to tasks; this registry is what keeps
them alive. `close` cancels and awaits all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from holdfast import errors

_log = structlog.get_logger("holdfast")


class Supervisor:
    def __init__(self, fatal: Callable[[str], None]) -> None:
        """`fatal` gets a sentence when a service has ended unasked; it stops the node."""
        self._fatal = fatal
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing = False

    def job(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Runs work that ends by itself."""
        return self._start(work, name, self._job_done)

    def service(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Runs work that must not end before `close`."""
        return self._start(work, name, self._service_done)

    def _start(
        self,
        work: Coroutine[Any, Any, Any],
        name: str,
        done: Callable[[asyncio.Task[Any]], None],
    ) -> asyncio.Task[Any]:
        if self._closing:
            work.close()
            raise RuntimeError(f"{name!r} was started after close")
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(done)
        return task

    def _job_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if not isinstance(error, errors.HoldfastError):  # those are for whoever awaits the job
            _log.error("job_failed", job=task.get_name(), trace=errors.trace(error))

    def _service_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if self._closing:
            return
        _log.critical("service_ended", service=task.get_name(), trace=errors.trace(error))
        self._fatal(f"The background task {task.get_name()!r} ended unexpectedly.")

    @property
    def names(self) -> list[str]:
        """What runs now, for tests and for people."""
        return sorted(task.get_name() for task in self._tasks)

    async def close(self) -> None:
        """Cancels and awaits every task. Idempotent, and safe before the first start."""
        self._closing = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
