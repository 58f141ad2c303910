"""A killed worker's streams: another one takes them over once its lease has run out, and goes on.

Strategy: real processes with a Valkey of their own. A reader had a part of the answer from the dead
worker; it comes back to the living one with its last id, and has the rest when the stream goes on.
That takes the lease's time, of which a test's is short.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from tests.integration import asking, harness, worker_processes

LEASE = {"HOLDFAST_LOG__LEASE": "2"}
ANSWER = "tokens=60 rate=60 unicode=1"


@pytest.mark.case("1.21")
@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells who is whose")
@pytest.mark.usefixtures("valkey_program")
async def test_an_answer_of_a_killed_worker_goes_on_in_another(tmp_path: Path) -> None:
    async with worker_processes.serving(folder=tmp_path, env=LEASE) as group:
        one, other = await group.two()
        reader = await group.begin(one, asking.demo(ANSWER, flush_interval_ms=0))
        stream = harness.stream_of(reader)
        await reader.until(asking.has(20))
        os.kill(one, signal.SIGKILL)
        cut = await worker_processes.rest(reader)
        assert not cut.clean
        had = harness.durable(cut.body)
        path = f"/v1/streams/{stream}/events"
        back = await (await group.to(other)).ask(
            "GET", path, {"Last-Event-ID": asking.last_id(had)}
        )
        rest = await worker_processes.rest(back)
        assert rest.clean
        for worker in await group.two():
            whole = await group.ask(worker, "GET", path)
            assert whole.clean
            assert whole.body == had + harness.durable(rest.body)
        untouched = await asking.finished(group.port, ANSWER)
        done = await group.server.end(signal.SIGTERM)
    assert done.code == 0
    kinds = asking.kinds(whole.body)
    assert [kind for kind in kinds if kind in ("error", "complete")] == kinds[-1:] == ["complete"]
    assert asking.content(whole.body) == asking.content(untouched.body)
    ends = [harness.said(answer.body)[-1].data for answer in (whole, untouched)]
    assert ends[0]["sha256"] == ends[1]["sha256"]
    said = [one.data for one in harness.said(whole.body) if one.event == "metadata"]
    assert [one["type"] for one in said].count("adopted") == 1
