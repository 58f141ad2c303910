"""What the dashboard is made of, and where each file stands.

Strategy: the page is at `/dashboard` and all else below, so that it names its files by where it is
itself, under whatever path the application was mounted or a proxy put it. How files are served is
`static_files`. Whoever opens the page sees no figure of the node: each call that it makes needs the
scope `admin`, as it would for any client.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from starlette.routing import Route

from holdfast import static_files

PATH = "/dashboard"

SCRIPTS = (
    "main.js",
    "server.js",
    "history.js",
    "format.js",
    "document.js",
    "charts.js",
    "overview.js",
    "streams.js",
    "timeline.js",
    "connections.js",
    "failures.js",
    "holdfast.js",
    "uplot.js",
)
"""Also the library of the charts, as it was published, and the client of `clients/js`."""

FILES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        PATH: ("index.html", static_files.HTML),
        f"{PATH}/dashboard.css": ("dashboard.css", static_files.CSS),
        f"{PATH}/uplot.css": ("uplot.css", static_files.CSS),
        f"{PATH}/uplot.LICENSE.txt": ("uplot.LICENSE.txt", static_files.TEXT),
        f"{PATH}/icon.svg": ("icon.svg", static_files.SVG),
        **{f"{PATH}/{name}": (name, static_files.SCRIPT) for name in SCRIPTS},
    }
)
"""By path: the file's name, and its media type."""


def routes() -> list[Route]:
    """The routes of all files."""
    return static_files.routes("holdfast.dashboard", FILES)
