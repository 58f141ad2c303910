"""Whose limits a reader by a signed URL counts in: those of the key that made it.

Strategy: the maker of the link and the owner of the stream are of two tenants, each with limits. A
link that no API key made does not tell its maker, and counts where the stream does.
"""

from __future__ import annotations

from tests.integration import asking, harness, node_with_keys

from holdfast.access import gate, principal

PLANS = {
    "owner": {"tenants": ["acme"], "requests_per_minute": 4, "connections": 1},
    "maker": {"tenants": ["ops"], "requests_per_minute": 4},
}


async def link(server: harness.Running, stream: str, headers: dict[str, str]) -> str:
    answer = await harness.ask(server.port, "POST", f"/v1/streams/{stream}/links", headers, b"")
    assert answer.status == 201, answer.body
    return str(answer.json()["url"])


async def reads(server: harness.Running, url: str) -> harness.Reader:
    """Somebody who is let in."""
    reader = await harness.Reader.open(server.port, "GET", url)
    return await reader.until(asking.has(3))


async def sent_away(server: harness.Running, url: str, reason: str) -> None:
    reader = await harness.Reader.open(server.port, "GET", url)
    await reader.until(asking.has(1))
    assert b"event: reconnect" in reader.body
    assert asking.sent_away(await reader.rest()).data["reason"] == reason


async def listed(server: harness.Running, headers: dict[str, str]) -> harness.Response:
    return await harness.ask(server.port, "GET", "/v1/streams", headers)


async def test_readers_by_another_tenant_s_link_cost_the_owner_nothing() -> None:
    async with node_with_keys.serving(plans=PLANS) as server:
        key = await node_with_keys.made(server)
        admin = await node_with_keys.made(server, "ops", scopes=("admin",))
        stream = await node_with_keys.stalled(server, key)
        url = await link(server, stream, admin.headers)
        readers = [await reads(server, url) for _ in range(3)]
        [maker, owner] = node_with_keys.accounts(server, "tenant:ops", "tenant:acme")
        assert (maker.connections, owner.connections) == (3, 0)
        await sent_away(server, url, "request_limit")
        node_with_keys.refused(await listed(server, admin.headers), "request_limit")
        assert (await listed(server, key.headers)).status == 200
        for reader in readers:
            await reader.close()
        await node_with_keys.cancel(server, key, stream)
        await asking.idle(server)
        assert node_with_keys.places(server) == {(0, 0, 0)}


async def test_readers_by_a_link_that_no_key_made_count_where_the_stream_does() -> None:
    """The maker is one whom the operator's hook knows, of another tenant."""

    async def authorize(asked: gate.Asked) -> principal.Principal | None:
        known = asked.headers.get("x-known") == "yes"
        return principal.Principal("ops", scopes=frozenset(("admin",))) if known else None

    async with node_with_keys.serving(plans=PLANS) as server:
        assert server.service.access is not None
        server.service.access._authorize = authorize
        key = await node_with_keys.made(server)
        stream = await node_with_keys.stalled(server, key)
        maker = node_with_keys.Key("", "ops", "", {"X-Known": "yes"})
        url = await link(server, stream, maker.headers)
        reader = await reads(server, url)
        await sent_away(server, url, "connection_limit")
        assert (await listed(server, key.headers)).status == 200
        await sent_away(server, url, "request_limit")
        node_with_keys.refused(await listed(server, key.headers), "request_limit")
        await reader.close()
        await node_with_keys.cancel(server, maker, stream)
