"""OpenTelemetry's names for generative AI, as far as they are not ours: who is asked, and for what.

Strategy: two tables from a provider's kind, as the settings name it. A kind that the conventions
have no name for keeps its own, which they allow.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_PROVIDERS: Mapping[str, str] = MappingProxyType(
    {
        "openai_responses": "openai",
        "google": "gcp.gemini",
        "google_interactions": "gcp.gemini",
        "mistral": "mistral_ai",
        "xai": "x_ai",
    }
)

_GENERATES = frozenset(("google", "google_interactions"))
"""Kinds whose calls are of Google's `generateContent`."""


def provider(kind: str) -> str:
    """`gen_ai.provider.name`."""
    return _PROVIDERS.get(kind, kind)


def operation(kind: str) -> str:
    """`gen_ai.operation.name`."""
    return "generate_content" if kind in _GENERATES else "chat"
