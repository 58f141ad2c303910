"""The event loop of a client's command, which ends when the command does.

Strategy: the one thing that a loop cannot stop is a call of the system's in a thread, such as the
look-up of a name, and `asyncio.run` waits for such threads, as the interpreter does at its end.
Here they are daemons that nobody waits for, so that Ctrl-C and a deadline hold then too.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent import futures
from typing import Any, ParamSpec, TypeVar

from holdfast.cli import logs

P = ParamSpec("P")
T = TypeVar("T")


class _Daemons(futures.ThreadPoolExecutor):
    """An executor with a thread for each call. A command has few: a client looks up one name at a
    time, each time that it connects."""

    def submit(
        self, call: Callable[P, T], /, *args: P.args, **options: P.kwargs
    ) -> futures.Future[T]:
        future: futures.Future[T] = futures.Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(call(*args, **options))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=work, name="holdfast call", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """There is nothing to wait for."""


def run(work: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`; calls of the system's that are still under way are left alone. What is
    logged meanwhile is no part of what the command prints."""
    logs.aside()

    async def alone() -> T:
        asyncio.get_running_loop().set_default_executor(_Daemons())
        return await work

    return asyncio.run(alone())
