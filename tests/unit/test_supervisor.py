"""The owner of tasks: who fails hurts nobody, who may not end stops the node.

Strategy: log lines are captured by structlog's own testing tool; `fatal` is a list.
"""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest
from structlog.testing import capture_logs

from holdfast import errors, supervisor
from holdfast.testing import simulated


class Node:
    """A supervisor and the sentences that would stop its node."""

    def __init__(self) -> None:
        self.fatal: list[str] = []
        self.supervisor = supervisor.Supervisor(self.fatal.append)


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def fail(error: Exception) -> None:
    await asyncio.sleep(0)
    raise error


@simulated.timed
async def test_a_job_has_a_name_until_it_ends() -> None:
    node = Node()

    async def work() -> int:
        await asyncio.sleep(1)
        return 7

    task = node.supervisor.job(work(), "work")
    node.supervisor.job(forever(), "another")
    assert node.supervisor.names == ["another", "work"]
    assert await task == 7
    assert node.supervisor.names == ["another"]
    assert node.fatal == []
    await node.supervisor.close()


@simulated.timed
async def test_a_job_that_fails_is_logged_and_hurts_nobody() -> None:
    node = Node()
    with capture_logs() as logs:
        service = node.supervisor.service(forever(), "service")
        other = node.supervisor.job(forever(), "other")
        error = KeyError("x")
        task = node.supervisor.job(fail(error), "work")
        await asyncio.gather(task, return_exceptions=True)
    assert [(line["event"], line["job"]) for line in logs] == [("job_failed", "work")]
    assert "KeyError\n" in logs[0]["trace"]
    assert logs[0]["log_level"] == "error"
    assert not service.done()
    assert not other.done()
    assert node.fatal == []
    await node.supervisor.close()


@simulated.timed
async def test_a_job_that_fails_as_we_named_it_is_for_who_awaits_it() -> None:
    node = Node()
    with capture_logs() as logs:
        task = node.supervisor.job(fail(errors.LogUnavailable()), "work")
        with pytest.raises(errors.LogUnavailable):
            await task
    assert logs == []


@simulated.timed
async def test_a_failure_that_nobody_awaits_is_told_once() -> None:
    node = Node()
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    with capture_logs() as logs:
        node.supervisor.job(fail(errors.LogUnavailable()), "named")
        node.supervisor.job(fail(KeyError("x")), "bug")
        await asyncio.sleep(1)
    gc.collect()
    await asyncio.sleep(1)
    assert told == []
    assert [line["job"] for line in logs] == ["bug"]


@simulated.timed
async def test_a_cancelled_job_is_no_failure() -> None:
    node = Node()
    with capture_logs() as logs:
        task = node.supervisor.job(forever(), "work")
        await simulated.idle()
        task.cancel()
        await simulated.idle()
    assert (logs, node.fatal, node.supervisor.names) == ([], [], [])


@pytest.mark.parametrize("how", ["returns", "fails", "fails as we named it", "is cancelled"])
@simulated.timed
async def test_a_service_that_ends_stops_the_node(how: str) -> None:
    node = Node()
    error = errors.LogCorrupt() if how == "fails as we named it" else KeyError("x")
    with capture_logs() as logs:
        work = fail(error) if how.startswith("fails") else asyncio.sleep(1)
        task = node.supervisor.service(work, "ticker")
        if how == "is cancelled":
            task.cancel()
        await asyncio.sleep(2)
    assert node.fatal == ["The background task 'ticker' ended unexpectedly."]
    assert [(line["event"], line["service"], line["log_level"]) for line in logs] == [
        ("service_ended", "ticker", "critical")
    ]
    assert (type(error).__name__ in logs[0]["trace"]) is how.startswith("fails")
    assert node.supervisor.names == []


@simulated.timed
async def test_tasks_are_kept_alive() -> None:
    node = Node()
    future = asyncio.get_running_loop().create_future()
    kept = weakref.ref(future)

    async def work(future: asyncio.Future[None]) -> None:
        await future

    node.supervisor.job(work(future), "work")
    await simulated.idle()
    del future
    gc.collect()
    assert kept() is not None
    assert node.supervisor.names == ["work"]
    await node.supervisor.close()


# Closing


@simulated.timed
async def test_close_ends_everything_and_waits_for_it() -> None:
    node = Node()
    steps: list[str] = []

    async def work(name: str) -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(1)
            steps.append(name)

    with capture_logs() as logs:
        node.supervisor.service(work("service"), "service")
        node.supervisor.job(work("job"), "job")
        await simulated.idle()
        await node.supervisor.close()
    assert sorted(steps) == ["job", "service"]
    assert (node.supervisor.names, node.fatal, logs) == ([], [], [])
    assert simulated.now() == simulated.BEGIN + 1.0


@simulated.timed
async def test_close_is_idempotent_and_safe_before_the_first_start() -> None:
    node = Node()
    await node.supervisor.close()
    await node.supervisor.close()
    another = Node()
    another.supervisor.job(forever(), "work")
    await another.supervisor.close()
    await another.supervisor.close()
    assert another.supervisor.names == []


@simulated.timed
async def test_two_who_close_at_once_both_wait() -> None:
    node = Node()
    ended: list[float] = []

    async def work() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            ended.append(simulated.now())

    node.supervisor.job(work(), "work")
    await simulated.idle()
    await asyncio.gather(node.supervisor.close(), node.supervisor.close())
    assert (node.supervisor.names, len(ended)) == ([], 1)


@simulated.timed
async def test_a_task_that_had_not_begun_is_closed_without_a_warning() -> None:
    node = Node()
    node.supervisor.job(forever(), "work")
    await node.supervisor.close()
    gc.collect()


@simulated.timed
async def test_a_job_that_fails_while_it_is_closed_keeps_nobody() -> None:
    node = Node()

    async def work() -> None:
        try:
            await forever()
        finally:
            raise KeyError("x")

    with capture_logs() as logs:
        node.supervisor.job(work(), "work")
        other = node.supervisor.job(forever(), "other")
        await simulated.idle()
        await node.supervisor.close()
    assert other.cancelled()
    assert [line["event"] for line in logs] == ["job_failed"]
    assert node.fatal == []


@pytest.mark.parametrize("kind", ["job", "service"])
@simulated.timed
async def test_after_close_nothing_starts(kind: str) -> None:
    node = Node()
    await node.supervisor.close()
    work = forever()
    with pytest.raises(RuntimeError, match="'late' was started after close"):
        getattr(node.supervisor, kind)(work, "late")
    assert node.supervisor.names == []
    # A coroutine that was never awaited would warn when it goes.
    del work
    gc.collect()
