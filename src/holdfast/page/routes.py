"""What the page of the demo is made of, and where each file stands.

Strategy: how files are served is `static_files`; here is the table of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from starlette.routing import Route

from holdfast import static_files

FILES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "/": ("index.html", static_files.HTML),
        "/page.css": ("page.css", static_files.CSS),
        "/page.js": ("page.js", static_files.SCRIPT),
        "/show.js": ("show.js", static_files.SCRIPT),
        "/meter.js": ("meter.js", static_files.SCRIPT),
        "/places.js": ("places.js", static_files.SCRIPT),
        "/holdfast.js": ("holdfast.js", static_files.SCRIPT),
        "/icon.svg": ("icon.svg", static_files.SVG),
    }
)
"""By path: the file's name, and its media type."""


def routes() -> list[Route]:
    """The routes of all files."""
    return static_files.routes("holdfast.page", FILES)
