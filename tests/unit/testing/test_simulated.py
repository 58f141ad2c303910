"""The simulated loop: its clock moves only when nothing else is left to do."""

from __future__ import annotations

import asyncio
import functools
import socket

import pytest

from holdfast.testing import simulated


def test_an_hour_passes_at_once_and_exactly() -> None:
    async def sleep() -> float:
        await asyncio.sleep(3600.0)
        return simulated.now()

    assert simulated.run(sleep()) == simulated.BEGIN + 3600.0


@simulated.timed
async def test_timers_come_in_order_and_deadlines_hold() -> None:
    seen: list[str] = []
    loop = asyncio.get_running_loop()
    loop.call_later(2.0, seen.append, "second")
    loop.call_later(1.0, seen.append, "first")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10.0):
            await loop.create_future()
    assert seen == ["first", "second"]
    assert simulated.now() == simulated.BEGIN + 10.0


@simulated.timed
async def test_what_is_ready_runs_before_time_passes() -> None:
    loop = asyncio.get_running_loop()
    steps: list[int] = []

    def step(n: int) -> None:
        steps.append(n)
        if n < 100:
            loop.call_soon(step, n + 1)

    loop.call_later(0.001, steps.append, -1)
    loop.call_soon(step, 0)
    await simulated.idle()
    assert steps == list(range(101))
    assert simulated.now() == simulated.BEGIN


@simulated.timed
async def test_bytes_of_a_socket_come_before_the_next_timer() -> None:
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.send(b"x")
        async with asyncio.timeout(1.0):
            assert await loop.sock_recv(ours, 1) == b"x"
    assert simulated.now() == simulated.BEGIN


def test_waiting_for_what_never_comes_fails() -> None:
    async def wait() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(simulated.Stuck):
        simulated.run(wait())


def test_what_the_loop_would_only_log_fails() -> None:
    async def fail_in_a_callback() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await simulated.idle()

    with pytest.raises(simulated.Fault) as fault:
        simulated.run(fail_in_a_callback())
    assert isinstance(fault.value.__cause__, ZeroDivisionError)


def test_failures_come_out() -> None:
    async def fail() -> None:
        await asyncio.sleep(1)
        raise KeyError("x")

    with pytest.raises(KeyError):
        simulated.run(fail())


@pytest.mark.parametrize("value", [1, 2])
@simulated.timed
async def test_a_timed_test_takes_parameters_and_fixtures(
    value: int, request: pytest.FixtureRequest
) -> None:
    assert request.node.name.endswith(f"[{value}]")


def shuffled(seed: int | None) -> list[str]:
    """In which order tasks, timers of one moment and plain functions came."""
    seen: list[str] = []

    def plain(name: str, task: object = None) -> None:
        seen.append(name)

    async def step(name: str) -> None:
        for n in range(3):
            seen.append(f"{name}{n}")
            await asyncio.sleep(0)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        asleep = [asyncio.sleep(1.0) for _ in range(2)]
        for n in range(3):
            loop.call_soon(functools.partial(plain, f"f{n}"))
        await asyncio.gather(step("a"), step("b"), step("c"), *asleep)
        flags = [asyncio.Event() for _ in range(8)]
        waiting = [asyncio.ensure_future(flag.wait()) for flag in flags]
        for n, task in enumerate(waiting):
            task.add_done_callback(functools.partial(plain, f"w{n}"))
        await simulated.idle()
        for flag in set(flags):  # in the order of their addresses
            flag.set()
        await simulated.idle()
        loop.call_later(1.0, lambda: seen.append("x"))
        loop.call_later(1.0, seen.append, "y")
        await asyncio.sleep(2.0)

    simulated.run(main(), seed)
    return seen


def test_a_seed_draws_the_order_and_draws_it_again() -> None:
    runs = {tuple(shuffled(seed)) for seed in range(20)}
    assert len(runs) > 15
    assert {run.index("x") < run.index("y") for run in runs} == {True, False}
    assert all(shuffled(seed) == shuffled(seed) for seed in range(20))


def test_what_asyncio_promises_is_kept_with_a_seed() -> None:
    for seed in range(20):
        seen = shuffled(seed)
        for lane in "abcf":
            mine = [name for name in seen if name[0] == lane]
            assert mine == [f"{lane}{n}" for n in range(3)]
        # A turn ends when all that was ready has run: nobody is a step ahead of another.
        steps = [int(name[1]) for name in seen if name[0] in "abc"]
        assert steps == sorted(steps)
