"""A relay as one writes it by hand, with FastAPI and httpx.

Strategy: HTTPX's documentation shows how a streaming response is forwarded through a streaming
web endpoint; FastAPI's shows what lives as long as the application. HTTPX's usual limits, 100
connections and 5 seconds without a byte, would cut streams short and are off.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from starlette.background import BackgroundTask


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    address = os.environ["PROVIDER_URL"]
    async with httpx.AsyncClient(base_url=address, limits=limits, timeout=None) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/v1/chat/completions")
async def chat(request: Request) -> StreamingResponse:
    client: httpx.AsyncClient = request.app.state.client
    asked = client.build_request("POST", "/v1/chat/completions", json=await request.json())
    answer = await client.send(asked, stream=True)
    return StreamingResponse(
        answer.aiter_text(),
        status_code=answer.status_code,
        media_type="text/event-stream",
        background=BackgroundTask(answer.aclose),
    )
