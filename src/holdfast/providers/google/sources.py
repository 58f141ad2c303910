"""The sources that an answer names, and what it was grounded in.

Strategy: the pages of `groundingMetadata` and the quotes of `citationMetadata` are told as
citations when they first come. Google repeats and grows the metadata, so they are held, the
newest only, and kept whole in one `opaque` chunk at the end: the supports say which part of
the text stands on which page, and `searchEntryPoint` is what Google's terms want to be shown.

Format: https://ai.google.dev/api/generate-content#GroundingMetadata and #CitationMetadata.
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast import events
from holdfast.providers import halves, kept, values
from holdfast.providers.google import wire

MAX_CITATIONS = 256
"""Sources of one choice; further ones are left out, and URLs over `MAX_URL` characters."""

MAX_URL = 4096

_ITEMS = 10_000  # of a list of Google's that are looked at


class Cited:
    """The sources that one choice has named."""

    def __init__(self, choice: int = 0) -> None:
        self._choice = choice
        self._known: set[str] = set()

    def cite(
        self,
        url: Any,
        title: Any,
        place: str,
        extra: msgspec.Raw | msgspec.UnsetType,
        out: list[events.Body],
    ) -> None:
        """Tells a source once for each `place`; one without a usable URL is left out."""
        if not isinstance(url, str) or not 0 < len(url) <= MAX_URL:
            return
        if url + place in self._known or len(self._known) >= MAX_CITATIONS:
            return
        self._known.add(url + place)
        title = halves.valid(title[:MAX_URL]) if isinstance(title, str) else None
        out.append(events.Citation(halves.valid(url), title, self._choice, extra))


class Sources:
    """What one choice stands on."""

    def __init__(self, choice: int) -> None:
        self._choice = choice
        self._cited = Cited(choice)
        self._held: dict[str, Any] = {}

    def take(self, candidate: wire.Candidate, out: list[events.Body]) -> None:
        """Tells the sources that are new."""
        grounding, quotes = candidate.grounding_metadata, candidate.citation_metadata
        for name, value in (
            ("groundingMetadata", grounding),
            ("urlContextMetadata", candidate.url_context_metadata),
        ):
            if value and isinstance(value, dict):
                self._held[name] = kept.bounded(value)
        for item in listed(grounding, "groundingChunks"):
            for source in item.values():
                if isinstance(source, dict):
                    url = source.get("uri") or source.get("sourceUri")
                    self._cited.cite(url, source.get("title"), "", msgspec.UNSET, out)
        for name in ("citationSources", "citations"):
            for item in listed(quotes, name):
                place = f" {values.tokens(item, 'startIndex')} {values.tokens(item, 'endIndex')}"
                extra = values.extra(**{name: [kept.bounded(item)]})
                self._cited.cite(item.get("uri"), item.get("title"), place, extra, out)

    def release(self, out: list[events.Body]) -> None:
        """What was held."""
        if self._held:
            extra = values.extra(**self._held)
            self._held = {}
            out.append(events.Chunk("opaque", choice=self._choice, extra=extra))


def listed(fields: Any, name: str) -> list[dict[str, Any]]:
    """The objects in the list under this name, where there is one."""
    found = fields.get(name) if isinstance(fields, dict) else None
    items = found[:_ITEMS] if isinstance(found, list) else []
    return [item for item in items if isinstance(item, dict)]
