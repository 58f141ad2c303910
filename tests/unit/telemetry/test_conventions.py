"""What OpenTelemetry calls those who are asked: the kinds of the settings, each once."""

from __future__ import annotations

import pytest

from holdfast.providers import registry
from holdfast.telemetry import conventions

KNOWN = {
    "openai": "openai",
    "openai_responses": "openai",
    "anthropic": "anthropic",
    "google": "gcp.gemini",
    "google_interactions": "gcp.gemini",
    "deepseek": "deepseek",
    "groq": "groq",
    "mistral": "mistral_ai",
    "xai": "x_ai",
    "perplexity": "perplexity",
}
"""Those that have a name in the conventions."""


@pytest.mark.parametrize("kind", registry.KINDS)
def test_each_kind_has_the_name_of_the_conventions_or_its_own(kind: str) -> None:
    assert conventions.provider(kind) == KNOWN.get(kind, kind)
    generates = conventions.operation(kind) == "generate_content"
    assert generates == (conventions.provider(kind) == "gcp.gemini")


def test_what_is_known_is_a_kind() -> None:
    assert not set(KNOWN) - set(registry.KINDS)
