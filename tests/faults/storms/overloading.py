"""More is asked of a node than it can do: who is let in keeps the pace, and who is not comes later.

Strategy: as in `storming`. The same crowd asks two nodes, one that refuses nobody and one that does
once its event loop is late; both ends of each answer are one process (`pouring`), which says how
late each token came. Of the first node only that is wanted, beside it, and that it loses nothing.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
from tests.faults import served
from tests.faults.storms import aside, pouring, storming
from tests.integration import harness

BUSY = 0.85
"""Of its core, beyond which the crowd itself is late and its figures tell nothing."""


class Overload(msgspec.Struct, frozen=True):
    """`max_lag`: the setting of the second node, in seconds. `alone`: there is no first one."""

    load: pouring.Load = pouring.Load(rate=700, seconds=8, writes=40, interval=0.2, tokens=4)
    max_lag: float | None = None
    alone: bool = False
    limit: float = 300


CONFIG = """[providers.sim]
kind = "openai_chat"
base_url = "http://127.0.0.1:{port}/v1"
api_key = "x"
models = ["sim"]
"""


async def overload(size: Overload, folder: Path) -> storming.Figures:
    first, second = _below(folder, "first"), _below(folder, "second")
    async with asyncio.timeout(size.limit):
        figures = {} if size.alone else await _told(size, 0, first, "all are taken: ")
        return figures | await _told(size, size.max_lag, second, "")


def _below(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


async def _told(
    size: Overload, max_lag: float | None, folder: Path, which: str
) -> storming.Figures:
    """What the crowd says, in figures."""
    seen, cpu = await _pour(size.load, max_lag, folder)
    assert not seen.wrong, seen.wrong
    asked = int(size.load.rate * size.load.seconds)
    ended, refused = sum(seen.ended.values()), sum(seen.refused.values())
    assert ended + refused == asked, (seen.ended, seen.refused)
    assert (max_lag == 0) <= (refused == 0), "a node without a limit has refused somebody"
    figures: storming.Figures = {"streams": ended, "refused": refused}
    figures |= {f"refused, {name}": many for name, many in seen.refused.items() if refused}
    figures["times to come back"] = len(seen.retry_after)
    if seen.busy < BUSY:
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            figures[f"ms of a token, {name}"] = (seen.delay.quantile(share) or 0) / 1000
    figures |= {"node's CPU seconds": cpu, "crowd's share of a core": seen.busy}
    return {which + name: value for name, value in figures.items()}


async def _pour(
    load: pouring.Load, max_lag: float | None, folder: Path
) -> tuple[pouring.Seen, float]:
    async with aside.running("tests.faults.storms.pouring") as crowd:
        await crowd.say(load)
        (folder / "holdfast.toml").write_text(CONFIG.format(port=await crowd.hear(int)))
        env = {} if max_lag is None else {"HOLDFAST_SERVER__MAX_LAG": f"{max_lag:g}"}
        async with served.serving(folder, env=env) as server:
            await crowd.say(server.port)
            seen = await crowd.hear(pouring.Seen)
            cpu = server.cpu_seconds()
            if max_lag != 0:
                await _takes_again(server)
            assert await server.end() == 0
    return seen, cpu


async def _takes_again(server: served.Server) -> None:
    """Once nobody asks any more, a node is in time again by itself."""
    body = harness.wanted("demo", messages=[{"role": "user", "content": "/demo tokens=1"}])

    async def taken() -> bool:
        made = await harness.ask(server.port, "POST", "/v1/streams", storming.ASK, body)
        return made.status == 201

    await served.until(taken)
