"""What nodes ask each other goes to whom it concerns.

Strategy: real nodes on one server, and a client that hears all its channels. Channels belong to no
database, so what nodes of other tests say is left out.
"""

from __future__ import annotations

import asyncio

from tests import redis_servers
from tests.unit.eventlog.redis import logs

from holdfast.eventlog.redis import asking


async def test_an_answer_is_sent_to_who_asks_alone(valkey: redis_servers.Server) -> None:
    heard = set[tuple[bytes, bytes, bytes]]()
    async with logs.nodes(valkey) as nodes:
        asker, *others = [await nodes.start() for _ in range(3)]
        me, *them = [logs.life(log) for log in (asker, *others)]
        for log in others:
            log.answer(lambda question: b"said " + question)
        with valkey.client() as client, client.pubsub() as ear:  # type: ignore[no-untyped-call]
            ear.psubscribe("*")
            assert ear.get_message(timeout=5) is not None
            async with asyncio.timeout(logs.LIMIT):
                while None in (found := await asker.ask(b"what", 1.0)).values():
                    pass  # who has just started may not listen yet
            assert found == {log.name: b"said what" for log in others}
            ear.ping()
            while (said := ear.get_message(timeout=5))["type"] != "pong":
                who, what, _ = said["data"].split(b" ", 2)
                if who in (me, *them):
                    heard.add((said["channel"], who, what))
    answers = {(b"holdfast:hints:" + me, one, asking.ANSWER) for one in them}
    assert heard == {(b"holdfast:hints", me, asking.QUESTION), *answers}
