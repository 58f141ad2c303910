"""`GET /v1/models`, as the stock clients of OpenAI and of Anthropic look models up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest
import pytest_asyncio
from tests.integration import harness
from tests.integration.dialects import stock_openai
from tests.integration.stock import words

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROVIDERS: dict[str, dict[str, Any]] = {
    "vendor": {"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "api_key": "k"},
    "own": {
        "kind": "openai_chat",
        "base_url": "http://127.0.0.1:9/v1",
        "models": ["llama-4", "org/qwen-*", "org/qwen-5"],
    },
}
ROUTES = {"fast": {"targets": ["own/llama-4", "vendor/gpt-5"], "models": ["quick", "fast-*"]}}

NAMED = {
    "fast": "holdfast",
    "quick": "holdfast",
    "llama-4": "own",
    "org/qwen-5": "own",
    "demo": "demo",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[harness.Running]:
    config = harness.configured(providers=PROVIDERS, routes=ROUTES)
    async with harness.running(config) as found:
        yield found


async def test_openais_client(server: harness.Running) -> None:
    async with stock_openai.client(f"{server.url}/v1") as stock:
        listed = [model async for model in stock.models.list()]
        assert {model.id: model.owned_by for model in listed} == NAMED
        assert {(model.object, model.created) for model in listed} == {("model", 0)}
        for name, owner in NAMED.items():
            found = await stock.models.retrieve(name)
            assert (found.id, found.owned_by, found.object) == (name, owner, "model")
        # What may be asked for by a pattern, or by a provider's name, is there too.
        for name, owner in (("gpt-5", "vendor"), ("own/any", "own"), ("org/qwen-7", "own")):
            assert (await stock.models.retrieve(name)).owned_by == owner
        with pytest.raises(openai.NotFoundError) as caught:
            await stock.models.retrieve("nobody")
        assert caught.value.code == "unknown_model"


async def test_anthropics_client(server: harness.Running) -> None:
    http = anthropic.DefaultAsyncHttpxClient(verify=words.VERIFY, trust_env=False)
    async with anthropic.AsyncAnthropic(
        base_url=server.url, api_key="any", max_retries=0, http_client=http
    ) as stock:
        page = await stock.models.list()
        assert [model.id for model in page.data] == list(NAMED)
        assert (page.first_id, page.last_id, page.has_more) == ("fast", "demo", False)
        assert [model.id async for model in page] == list(NAMED)
        found = await stock.models.retrieve("org/qwen-5")
        assert (found.type, found.display_name, found.created_at.year) == (
            "model",
            "org/qwen-5",
            1970,
        )
        with pytest.raises(anthropic.NotFoundError):
            await stock.models.retrieve("nobody")
