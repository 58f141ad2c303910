"""Readers by the thousand in a process of their own, and an account of what became of each.

    python -m tests.faults.storms.crowd PORT STREAM COUNT

Strategy: a process may open some thousands of files, so a crowd of more is several of these. Each
client asks for the same stream's events and stays. Once all know where they are, one line of
JSON tells how many were served, sent away and closed; when its input ends, all of them go.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys

import msgspec

AT_ONCE = 500
"""Clients that have connected and do not know yet what becomes of them: a listener's queue is
to hold those of a few processes."""

LARGEST = 64 << 10


class Account(msgspec.Struct):
    """`served` have the stream's first event and are still connected. `sent_away` got 200, a
    `reconnect` and an unclean end, `closed` not a byte. `lost` were served, and cut."""

    served: int = 0
    sent_away: int = 0
    closed: int = 0
    lost: int = 0
    wrong: list[str] = []


class Client(asyncio.Protocol):
    """One request. `settled` is set when it is known what becomes of it."""

    def __init__(self, request: bytes, account: Account) -> None:
        self._request, self._account = request, account
        self._got = bytearray()
        self._served = False
        self.settled = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._served:
            return
        self._got += data
        if b"event: start" in self._got:
            self._served = True
            self._account.served += 1
            self._got.clear()
            self.settled.set()
        elif len(self._got) > LARGEST:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        account, got = self._account, self._got
        if self._served:
            account.served -= 1
            account.lost += 1
        elif not got:
            account.closed += 1
        elif sent_away(got):
            account.sent_away += 1
        else:
            account.wrong.append(got[:200].decode("latin-1"))
        self.settled.set()


def sent_away(got: bytes | bytearray) -> bool:
    """Whether this is all that a reader gets who is to come back."""
    right = got.startswith(b"HTTP/1.1 200 ") and b"event: reconnect\n" in got
    return right and not got.endswith(b"0\r\n\r\n")


async def knock(port: int, client: Client, places: asyncio.Semaphore, account: Account) -> None:
    async with places:
        try:
            await asyncio.get_running_loop().create_connection(lambda: client, "127.0.0.1", port)
        except OSError:
            account.closed += 1
            return
        await client.settled.wait()


async def crowd(port: int, stream: str, count: int) -> None:
    request = f"GET /v1/streams/{stream}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    account, places = Account(), asyncio.Semaphore(AT_ONCE)
    clients = [Client(request, account) for _ in range(count)]
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(knock(port, client, places, account))
    print(msgspec.json.encode(account).decode(), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print(msgspec.json.encode(account).decode(), flush=True)


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(crowd(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
