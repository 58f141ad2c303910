"""Applications of others in which a node is mounted, one of each way.

Strategy: a host is an application with a route of its own, which says what it was asked, and a node
below `prefix`; who needs something else of it adds that before it is served.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import fastapi
import msgspec
from starlette import applications, responses, routing
from starlette.middleware import base as middleware
from starlette.middleware import gzip
from starlette.requests import Request
from tests.integration import asking, harness, other_servers

import holdfast
from holdfast.http import mounted


class Host(msgspec.Struct, frozen=True):
    """An application, and where in it the node is."""

    application: Any
    prefix: str
    node: mounted.App


async def own(request: Request) -> responses.Response:
    """The host's route."""
    return responses.JSONResponse({"asked": request.url.path})


def included(node: mounted.App, prefix: str = "/llm", **more: Any) -> Host:
    """In FastAPI, by its router."""
    application = fastapi.FastAPI()
    application.add_api_route("/own", own)
    application.include_router(holdfast.router(node), prefix=prefix, **more)
    return Host(application, prefix, node)


def beside(node: mounted.App) -> Host:
    """In FastAPI, without a prefix."""
    return included(node, "")


def within(node: mounted.App) -> Host:
    """In FastAPI, mounted."""
    application = fastapi.FastAPI(lifespan=node.lifespan)
    application.add_api_route("/own", own)
    application.mount("/llm", node)
    return Host(application, "/llm", node)


def plain(node: mounted.App) -> Host:
    """In an application of another framework."""
    routes = [routing.Route("/own", own), routing.Mount("/llm", node)]
    application = applications.Starlette(routes=routes, lifespan=node.lifespan)
    return Host(application, "/llm", node)


def alone(node: mounted.App) -> Host:
    """In none."""
    return Host(node, "", node)


def rewritten(node: mounted.App) -> Host:
    """Below middleware that passes each body on piece by piece, and ends it; between them is what
    leaves out messages that it does not know."""

    async def passed_on(
        request: Request, go_on: Callable[[Request], Awaitable[responses.Response]]
    ) -> responses.Response:
        return await go_on(request)

    host = included(node)
    host.application.add_middleware(gzip.GZipMiddleware)
    host.application.add_middleware(middleware.BaseHTTPMiddleware, dispatch=passed_on)
    return host


WAYS = (included, beside, within, plain)
Way = Callable[[mounted.App], Host]


class Mounted(msgspec.Struct, frozen=True):
    """A host that answers at `port`; `at` is before all paths of the node."""

    port: int
    at: str
    server: harness.Running


@contextlib.asynccontextmanager
async def serving(host: Host, server: str = "httptools") -> AsyncIterator[Mounted]:
    """Serves a host until the block ends; fails where the node is not quiet then."""
    async with other_servers.serving(host.application, server) as port:
        running = harness.Running(port, host.node.service)
        yield Mounted(port, host.prefix, running)
        await asking.idle(running)
