"""A node as a router of FastAPI.

Strategy: what FastAPI does for its routes is wanted (dependencies, a prefix, the lifespan), what it
makes of requests and answers is not: so each path of the table is a route of FastAPI's that hands
the request, as it came, to the whole application, which answers as it does alone, wrong methods and
errors too. A path with a slash too many is among them, or FastAPI would redirect it to wherever
`Host` says. Here alone FastAPI is imported, when it is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from holdfast import errors
from holdfast.http import mounted, routes

if TYPE_CHECKING:
    from fastapi import APIRouter as APIRouter

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
"""All of them: which of them a path takes is the application's to say."""

INSTALL = "pip install fastapi"

_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")


def router(app: mounted.App) -> APIRouter:
    """Raises `errors.SettingsError` where FastAPI is not there."""
    try:
        from fastapi import APIRouter
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "fastapi":
            raise
        raise errors.SettingsError(
            f"holdfast.router needs FastAPI: {INSTALL}. Any other application mounts holdfast.asgi."
        ) from None
    found = APIRouter(lifespan=app.lifespan)
    for row in dict.fromkeys(row.path for row in routes.ROWS):
        for path in (row, f"{row}/"):
            found.add_api_route(
                path,
                _endpoint(app, path),
                methods=list(METHODS),
                name="holdfast",
                response_model=None,
                include_in_schema=False,
            )
    return found


def _endpoint(app: ASGIApp, path: str) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        own = _PARAMETER.sub(lambda found: request.path_params[found[1]], path)
        return _Passed(app, own)

    return endpoint


class _Passed(Response):
    """A response that the application gives, of which this is the path."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        super().__init__()
        self._app, self._path = app, path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(_below(scope, self._path), receive, send)
        if self.background is not None:
            await self.background()


def _below(scope: Scope, own: str) -> Scope:
    """The request as an application gets it that is mounted at what stands before its path."""
    root, path = scope.get("root_path", ""), scope["path"]
    # A proxy may have taken away what the application was told stands before its paths.
    asked = path.removeprefix(root) if path.startswith(f"{root}/") else path
    root += asked.removesuffix(own)
    return {**scope, "root_path": root, "path": f"{root}{own}"}
