"""What the settings say of producing, as the values that its parts take."""

from __future__ import annotations

from holdfast import settings
from holdfast.eventlog import base
from holdfast.producing import attempt, breaker, fallback, producer, routing, ticker
from holdfast.providers import registry
from holdfast.telemetry import histogram


def limits(config: settings.Settings) -> producer.Limits:
    late = config.deadlines
    return producer.Limits(
        buffer_size=config.streaming.buffer_size,
        unsaved=config.streaming.unsaved_per_stream,
        stream=config.log.max_stream_bytes,
        deadlines=attempt.Deadlines(
            late.first_byte, late.first_content, late.between_contents, late.total
        ),
    )


def policy(config: settings.Settings) -> fallback.Policy:
    chosen = config.fallback
    return fallback.Policy(
        mode=chosen.mode,
        otherwise=chosen.otherwise,
        attempts=chosen.attempts,
        calls=chosen.calls,
        delay=chosen.delay,
        longest_delay=chosen.longest_delay,
        seconds=config.deadlines.total,
    )


def routes(config: settings.Settings, providers: registry.Registry) -> routing.Routing:
    return routing.Routing(
        providers,
        policy(config),
        config.fallback.instruction,
        strict=config.dialects.unknown_fields == "refuse",
    )


def breakers(config: settings.Settings) -> breaker.Breakers:
    chosen = config.fallback
    return breaker.Breakers(breaker.Limits(chosen.breaker_failures, chosen.breaker_pause))


def tick(
    config: settings.Settings, log: base.EventLog, appends: histogram.Recorder
) -> ticker.Ticker:
    chosen = config.streaming
    return ticker.Ticker(
        log,
        flush_interval=chosen.flush_interval,
        patience=chosen.log_patience,
        appends=appends,
    )
