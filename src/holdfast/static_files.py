"""How a page is served: a few files, each at a path of its own.

Strategy: a file is read once, as the application is made, and answered from memory. A browser asks
each time whether its copy still holds (`no-cache`) and is told by a tag of the content, so that a
page and the scripts that it runs are always of one version. A page is static and says nothing of
anybody: who may have an answer is decided on the calls that it makes, as for any client. Its policy
lets it load and call what this server has, and nothing else; no script stands in a page.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

HTML = "text/html; charset=utf-8"
CSS = "text/css; charset=utf-8"
SCRIPT = "text/javascript; charset=utf-8"
SVG = "image/svg+xml"
TEXT = "text/plain; charset=utf-8"

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
"""What a page may do, for browsers that know the words."""


def routes(package: str, files: Mapping[str, tuple[str, str]]) -> list[Route]:
    """The routes of all files in the folder `static` of a package; `files` by path: the file's
    name, and its media type."""
    folder = resources.files(package) / "static"
    return [
        Route(path, _answering((folder / name).read_bytes(), kind), methods=["GET"])
        for path, (name, kind) in files.items()
    ]


def _answering(content: bytes, kind: str) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint that has this content."""
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Content-Security-Policy": POLICY}

    async def answer(request: Request) -> Response:
        held = request.headers.get("if-none-match", "")
        if tag in (one.strip().removeprefix("W/") for one in held.split(",")):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=kind)

    return answer
