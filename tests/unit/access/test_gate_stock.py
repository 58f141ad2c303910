"""What stock clients of other APIs send: a key in a field of its own, or one that means nothing."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.access import gates
from tests.unit.access.gates import of, world

from holdfast import errors
from holdfast.access import gate, principal
from holdfast.testing.simulated import timed


async def admitted(
    w: gates.World, headers: dict[str, str], *, any_key: bool = True, **signed: Any
) -> principal.Principal:
    asked = gate.Asked("POST", "/v1/messages", headers, {}, "127.0.0.1")
    return await w.gate.admit(asked, any_key=any_key, **signed)


@timed
async def test_a_key_may_come_in_x_api_key() -> None:
    async with world() as w:
        token, kept = await w.known("acme", user="alice")
        for any_key in (True, False):
            assert await admitted(w, {"x-api-key": token}, any_key=any_key) == of(kept)


@timed
async def test_authorization_wins() -> None:
    """Whoever sends both is who that says, or nobody."""
    async with world() as w:
        one, kept = await w.known("acme")
        other, _ = await w.known("globex")
        both = {"authorization": f"Bearer {one}", "x-api-key": other}
        assert await admitted(w, both) == of(kept)
        with pytest.raises(errors.Unauthorized):
            await admitted(w, {"authorization": "Bearer unknown", "x-api-key": other})
        with pytest.raises(errors.Unauthorized):
            await admitted(w, {"authorization": "", "x-api-key": other})


@pytest.mark.parametrize("key", ["", "unknown", "a b", "\u00e9", "Bearer unknown", "x" * 100_000])
@timed
async def test_a_wrong_key_is_refused_where_there_are_keys(key: str) -> None:
    async with world() as w:
        await w.known()
        for any_key in (True, False):
            with pytest.raises(errors.Unauthorized):
                await admitted(w, {"x-api-key": key}, any_key=any_key)


@timed
async def test_a_key_in_x_api_key_is_judged_before_a_signed_url() -> None:
    async with world() as w:
        token, kept = await w.known("acme")
        query, _ = w.gate.link(of(kept), gates.STREAM, 60)  # type: ignore[arg-type]
        assert (await w.says(None, query, gates.STREAM)).stream == gates.STREAM
        assert await w.says(None, query, gates.STREAM, {"x-api-key": token}) == of(kept)
        with pytest.raises(errors.Unauthorized):
            await w.says(None, query, gates.STREAM, {"x-api-key": "unknown"})


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": "sk-ant-anything"},
        {"authorization": "Bearer sk-anything"},
        {"authorization": "Basic Og=="},
        {"x-api-key": ""},
        {},
    ],
)
@timed
async def test_an_open_node_takes_any_key_where_that_is_asked_for(headers: dict[str, str]) -> None:
    async with world() as w:
        assert await admitted(w, headers) is principal.ANYBODY
        if headers:
            with pytest.raises(errors.Unauthorized):
                await admitted(w, headers, any_key=False)


@timed
async def test_a_node_that_has_keys_takes_not_any() -> None:
    """Also the first request after the first key was made."""
    async with world() as w:
        assert await admitted(w, {"x-api-key": "anything"}) is principal.ANYBODY
        await w.known()
        for headers in ({"x-api-key": "anything"}, {}):
            with pytest.raises(errors.Unauthorized):
                await admitted(w, headers)
