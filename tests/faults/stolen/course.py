"""What happens in a storm: everything that leaves traces, and a thief who comes again and again.

Strategy: answers of each API are read whole, live ones by readers that drop and come back; one is
cancelled, others lose their node and are taken over; providers fail with secrets in their words,
callers make mistakes with secrets in them; then all is archived, one stream is destroyed, and the
others expire. The thief comes after each of these, and in the midst of the live ones. A plain
storm may end otherwise: sealing is turned on, and another thief comes when all is sealed.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from typing import Any

import msgspec
from tests.faults import served, telling
from tests.faults.stolen import nodes as running
from tests.faults.stolen import places, planted, thief
from tests.integration import asking, harness

LIVE = 3
"""Streams at a time that wait in the midst of their answers."""

LONG = 3
"""Answers that are longer together than what a redo log may have (`nodes`)."""

CALLERS = {
    "alice": ("--tenant", "acme", "--user", "alice"),
    "bob": ("--tenant", "globex"),
    "overseer": ("--tenant", "ops", "--scope", "read", "--scope", "admin"),
}
FAILING = ("status-500", "status-429", "status-401", "event", "broken", "cut")
SHORT = 1
"""Seconds after which everything expires in the end."""


class Course:
    """`answers` has the bodies that owners got, `rows` what was in the stores each time that the
    thief came."""

    def __init__(
        self,
        nodes: running.Nodes,
        stores: places.Stores,
        vendor: planted.Vendor,
        secrets: planted.Planted,
        taking: thief.Thief,
    ) -> None:
        self._nodes, self._stores, self._vendor = nodes, stores, vendor
        self._secrets, self._thief = secrets, taking
        self._keys: dict[str, str] = {}
        self.answers: list[bytes] = []
        self.rows: list[dict[str, list[thief.Row]]] = []
        self.thefts = self.streams = 0

    async def steal(self) -> None:
        """As it lies, and again with what lay elsewhere."""
        pids = [*(node.process.pid for node in self._nodes.all), *self._stores.pids()]
        await asyncio.to_thread(self._thief.steal, pids)
        await self._stores.written()
        await asyncio.to_thread(self._thief.steal, pids)
        self.rows.append(await self._stores.rows())
        self.thefts += 1

    # What callers do

    def _headers(self, who: str, **more: str) -> dict[str, str]:
        return {
            **self._secrets.headers,
            "Authorization": f"Bearer {self._keys[who]}",
            **{name.replace("_", "-"): value for name, value in more.items()},
        }

    async def _ask(
        self, target: str, body: Mapping[str, Any], node: telling.Node | None = None
    ) -> harness.Response:
        """An answer of Alice's, read whole."""
        headers = self._headers("alice", Accept="text/event-stream")
        port = (node or self._nodes.all[0]).port
        got = await harness.ask(port, "POST", target, headers, msgspec.json.encode(body))
        assert got.status in (200, 201), got
        self.answers.append(got.body)
        self.streams += 1
        return got

    async def _asked(self, name: str, model: str = "ok") -> harness.Response:
        return await self._ask("/v1/streams", self._secrets.body(self._secrets[name], model))

    async def answered(self) -> None:
        """Whole answers, in each API."""
        await self._asked("prompt by native", "long")
        await self._asked("prompt by native")
        for dialect in planted.DIALECTS[1:]:
            target = "/api/chat" if dialect == "chat" else f"/v1/{dialect}"
            await self._ask(target, self._secrets.foreign(dialect))

    async def failed(self) -> None:
        """Failures of the provider, and mistakes of callers, all with secrets in them."""
        for model in FAILING:
            some = harness.stream_of(await self._asked("prompt that is failing", model))
        whole = msgspec.json.encode(self._secrets.body(self._secrets["prompt by native"]))
        mistakes = (
            ("alice", "POST", "/v1/streams", whole[:-1]),
            ("alice", "POST", "/v1/streams", whole.replace(b"vendor/ok", b"nobody/m")),
            ("alice", "POST", "/v1/streams", whole.replace(b'"metadata"', b'"metadatum"')),
            ("alice", "POST", "/v1/chat/completions", whole[:-2]),
            ("bob", "GET", f"/v1/streams/{some}", b""),
            ("bob", "DELETE", f"/v1/streams/{some}", b""),
            ("wrong", "POST", "/v1/streams", whole),
            ("alice", "GET", f"/v1/streams?limit={self._secrets['prompt by native']}", b""),
            ("overseer", "GET", "/v1/errors", b""),
            ("overseer", "GET", "/v1/seal", b""),
            ("overseer", "GET", "/metrics", b""),
        )
        for who, method, target, body in mistakes:
            got = await harness.ask(
                self._nodes.all[0].port, method, target, self._headers(who), body
            )
            assert (got.status >= 400) == (who != "overseer"), (who, method, target, got)
            self._thief.tell("error bodies", got.body)

    async def lived(self) -> None:
        """Live answers, in whose midst the thief comes, a node dies, and readers come back."""
        nodes = self._nodes
        writing = nodes.all[0]
        names = ("prompt that is killed",) * LIVE + ("prompt that is cancelled",)
        reading = [await self._begun(writing, name) for name in names]
        await self.steal()
        for _ in range(LONG):  # so that the log puts together what it has of those that are open
            await self._asked("prompt by native", "long")
        await self.steal()
        for reader in reading:
            await reader.close()
        for reader in reading[:LIVE]:
            back = await self._back(writing, reader)
            await back.close()
        target = f"/v1/streams/{harness.stream_of(reading[-1])}/cancel"
        await harness.ask(writing.port, "POST", target, self._headers("alice"))
        self.streams += 1
        await self.archived()  # a node that dies in the midst of that keeps it from others for long
        await nodes.end(writing, signal.SIGKILL)
        await self.steal()
        await nodes.start()
        self._vendor.gate.set()
        for reader in reading:
            whole = await self._to_the_end(reader)
            self.answers.append(whole)
        self.streams += LIVE

    async def _begun(self, node: telling.Node, name: str) -> harness.Reader:
        prompt = f"{self._secrets[name]} {self._secrets.pasting()}"
        body = msgspec.json.encode(self._secrets.body(prompt, "gate"))
        headers = self._headers("alice", Accept="text/event-stream")
        reader = await harness.Reader.open(node.port, "POST", "/v1/streams", headers, body)
        said = self._secrets["answer to go on with"].encode()
        return await reader.until(lambda reader: said in reader.body)

    async def _back(self, node: telling.Node, reader: harness.Reader) -> harness.Reader:
        target = f"/v1/streams/{harness.stream_of(reader)}/events"
        last = {"Last-Event-ID": asking.last_id(bytes(reader.body))}
        headers = self._headers("alice") | last
        return await harness.Reader.open(node.port, "GET", target, headers)

    async def _to_the_end(self, reader: harness.Reader) -> bytes:
        """By whoever has the stream by now; it may take a lease."""
        body = b""

        async def ended() -> bool:
            nonlocal body
            back = await self._back(self._nodes.all[0], reader)
            body = (await back.rest()).body
            return back.status == 204 or asking.kinds(body)[-1:] in (["complete"], ["error"])

        await served.until(ended)
        return bytes(reader.body) + body

    # What becomes of it

    async def reported(self) -> None:
        """Connections are in the archive."""

        async def there() -> bool:
            rows = (await self._stores.rows())[places.ARCHIVE]
            return bool(list(places.of_table(rows, "connection")))

        await served.until(there, every=0.1)

    async def archived(self) -> None:
        """All that has ended is in the archive, if it goes there."""
        if not self._stores.archiving:
            return

        async def there() -> bool:
            rows = (await self._stores.rows())[places.ARCHIVE]
            return len(list(places.of_table(rows, "stream"))) >= self.streams

        await served.until(there, every=0.2)

    async def shredded(self) -> None:
        got = await self._asked("prompt that is shredded")
        stream = harness.stream_of(got)
        target, headers = f"/v1/streams/{stream}", self._headers("alice")
        port = self._nodes.all[0].port
        await self.steal()
        gone = await harness.ask(port, "DELETE", target, headers)
        assert gone.status == 204, gone
        assert (await harness.ask(port, "GET", target, headers)).status == 410

    async def expired(self, sealed: bool) -> None:
        """All nodes anew, with a short retention."""
        await self.stopped()
        self._nodes.configure(self._vendor.url, sealed, SHORT)
        await self._nodes.start()

        async def gone() -> bool:
            rows = await self._stores.rows()
            every = [row for some in rows.values() for row in some]
            return not list(places.of_table(every, "stream", "record", "segment"))

        await served.until(gone, every=0.2)

    async def turned_on(self, late: thief.Thief) -> None:
        """All that is plain is sealed, and what a database keeps of it is let go, as
        docs/sealing.md says; `late` comes then, and again when all is stopped."""
        self._nodes.configure(self._vendor.url, sealed=True)
        node = await self._nodes.start()

        async def over() -> bool:
            headers = self._headers("overseer")
            told = (await harness.ask(node.port, "GET", "/v1/seal", headers)).json()
            stores = told["log"], told["archive"]
            plain = sum(store["by_key"].get("", 0) for store in stores)
            return bool(told["pass"]) and not told["pass"]["running"] and not plain

        await served.until(over, every=0.1)
        for stop in (False, True):
            if stop:
                await self.stopped()
            await self._stores.tidied()
            pids = [one.process.pid for one in self._nodes.all]
            await asyncio.to_thread(late.steal, [*pids, *self._stores.pids()])
            self.rows.append(await self._stores.rows())

    async def stopped(self) -> None:
        for node in list(self._nodes.all):
            await self._nodes.end(node, signal.SIGTERM)

    # All of it

    async def run(
        self, sealed: bool, count: int, long: bool, late: thief.Thief | None = None
    ) -> None:
        """`count` nodes. With `late` sealing is turned on in the end."""
        nodes = self._nodes
        nodes.configure(self._vendor.url, sealed)
        made = (nodes.make_key(name, *options) for name, options in CALLERS.items())
        for name, key in zip(CALLERS, await asyncio.gather(*made), strict=True):
            self._keys[name] = key
            self._secrets.pasted[f"key of {name}"] = key.rpartition("_")[2]
        self._keys["wrong"] = self._secrets["failure of the provider"]
        for _ in range(count):
            await nodes.start()
        await self.steal()
        await self.answered()
        await self.steal()
        await self.failed()
        await self.reported()
        await self.steal()
        await self.lived()
        await self.archived()
        await self.steal()
        if long:
            await self.shredded()
            await self.steal()
        if long and late is None:
            await self.expired(sealed)
        await self.stopped()
        await self.steal()
        if late is not None:
            await self.turned_on(late)
