"""The route for Prometheus: what this node tells, and the other workers of its port.

Strategy: whoever answers asks the others of its group, and nobody else: other machines are scraped
themselves. One that does not answer in time is missing on this page, and its series go on with the
next. The page is made in a thread, as it may be thousands of lines.
"""

from __future__ import annotations

import asyncio

from starlette.responses import Response
from starlette.types import ASGIApp

from holdfast.http import calls, neighbours
from holdfast.telemetry import prometheus


async def show(call: calls.Call) -> ASGIApp:
    """`GET /metrics`: what has been counted here, for Prometheus."""
    told = await neighbours.workers(call.node.service)
    accept = call.request.headers.get("accept", "")
    page, media_type = await asyncio.to_thread(prometheus.page, told, accept)
    # Not as `media_type`: Starlette would add a second charset.
    return Response(page, headers={"Content-Type": media_type, "Vary": "Accept"})
