"""OpenTelemetry, for whoever brings its SDK: a span of each stream, and measurements of calls.

Strategy: only this package knows OpenTelemetry, and only by its API, which does nothing until the
process has an SDK. It is imported where a node wants it, so that all others neither need the
library nor wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from holdfast import errors

if TYPE_CHECKING:
    from holdfast.telemetry.otel.instrumentation import Instrumentation as Instrumentation

INSTALL = "pip install opentelemetry-api"
"""What brings the library."""


def open_instrumentation(kinds: Mapping[str, str]) -> Instrumentation:
    """A `tracing.Tracer` of this process. `kinds` has that of each provider, as the settings name
    it, by its name. Raises `errors.SettingsError` where OpenTelemetry is not there."""
    try:
        from holdfast.telemetry.otel import instrumentation
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "opentelemetry":
            raise
        raise errors.SettingsError(
            f"monitoring.opentelemetry needs a library that is not here: {INSTALL}"
        ) from None
    return instrumentation.Instrumentation(kinds)
