"""Two processes write one stream, one of them stopped between its look and its call.

Strategy: each process is a writer of the stream's one life, as two nodes are that both believe
in it: it looks how far the stream is, says so, waits for a word, and appends what follows. The one
that is stopped in between is overtaken; Redis has to take one of the two.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests import redis_servers

import holdfast
from holdfast import events
from holdfast.eventlog import base
from holdfast.eventlog.redis import address, engine
from holdfast.testing.eventlog import parts

ROUNDS = 20

WRITER = """
import asyncio, sys
from holdfast import events
from holdfast.eventlog import base
from holdfast.eventlog.redis import address, engine
from holdfast.testing.eventlog import parts

async def run(port, database, stream, epoch, name):
    where = address.Address((("127.0.0.1", port),), database=database)
    log = engine.RedisLog(where)
    await log.start()
    for line in iter(sys.stdin.readline, ""):
        [head] = await log.heads([stream])
        print("seen", head.seq, flush=True)
        sys.stdin.readline()
        batch = base.Batch(stream, epoch, head.seq + 1, 5_000, (parts.chunk(name + line),))
        [result] = await log.append((batch,))
        print(type(result).__name__, flush=True)
    await log.close()

port, database, stream, epoch, name = sys.argv[1:]
asyncio.run(run(int(port), int(database), events.StreamId(stream), int(epoch), name))
"""


class Writer:
    """One process."""

    def __init__(self, *said: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WRITER, *map(str, said)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(holdfast.__file__).parent.parent)},
        )

    def say(self, text: str = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.communicate()


@pytest.mark.case("1.22")
@pytest.mark.parametrize("claimed", [False, True])
async def test_redis_takes_one_of_two_that_write_the_same_seq(
    valkey: redis_servers.Server, claimed: bool
) -> None:
    """The other hears that it is there already, where it is the same life's, or that its life is
    over; what is in the log is never both, and never the stopped one's second."""
    database = redis_servers.next_database()
    where = address.Address((("127.0.0.1", valkey.port),), database=database)
    log = engine.RedisLog(where)
    await log.start()
    pen = await parts.begin(log)
    said = (valkey.port, database, pen.stream)
    slow = Writer(*said, pen.epoch, "slow")
    epoch = pen.epoch
    if claimed:
        life = await log.claim(pen.stream, 6_000)
        assert life is not None
        epoch = life.epoch
    fast = Writer(*said, epoch, "fast")
    try:
        for number in range(ROUNDS):
            for one in (slow, fast):
                one.say(f"{number}")
                assert one.hear().startswith("seen")
            slow.process.send_signal(signal.SIGSTOP)
            slow.say()
            fast.say()
            assert fast.hear() == "Ok"
            slow.process.send_signal(signal.SIGCONT)
            assert slow.hear() == ("Fenced" if claimed else "Ok")
    finally:
        slow.end()
        fast.end()
    found = await parts.read_all(log, pen.stream)
    texts = [event.body.delta for event in found if isinstance(event.body, events.Chunk)]
    assert texts == [f"fast{number}\n" for number in range(ROUNDS)]
    assert [event.seq for event in found] == list(range(1, len(found) + 1))
    assert isinstance((await log.heads([pen.stream]))[0], base.Head)
    await log.close()
