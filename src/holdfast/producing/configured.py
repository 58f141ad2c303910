"""What the settings say of producing, as the values that its parts take."""

from __future__ import annotations

from typing import NamedTuple

import structlog

from holdfast import settings, supervisor
from holdfast.eventlog import base
from holdfast.metering import ledger, line
from holdfast.producing import (
    attempt,
    bounds,
    breaker,
    fallback,
    routing,
    survey,
    ticker,
    writers,
)
from holdfast.providers import registry
from holdfast.telemetry import histogram, observer, record, tracing

_log = structlog.get_logger("holdfast")


class Writing(NamedTuple):
    """What writes the streams of a node."""

    ticker: ticker.Ticker
    routing: routing.Routing
    breakers: breaker.Breakers
    survey: survey.Survey
    writers: writers.Writers


def limits(config: settings.Settings) -> bounds.Limits:
    late = config.deadlines
    return bounds.Limits(
        buffer_size=config.streaming.buffer_size,
        unsaved=config.streaming.unsaved_per_stream,
        stream=config.log.max_stream_bytes,
        deadlines=attempt.Deadlines(
            late.first_byte, late.first_content, late.between_contents, late.total
        ),
        cadence=config.streaming.cadence,
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


def writing(
    config: settings.Settings,
    log: base.EventLog,
    create: writers.Create,
    providers: registry.Registry,
    accounts: ledger.Ledger,
    tasks: supervisor.Supervisor,
    observers: observer.Observers,
    kept: record.Record,
    tracer: tracing.Tracer,
) -> Writing:
    """`create` makes a new stream, and knows those too that have left `log`."""
    chosen, tick = config.fallback, _tick(config, log, kept.appends)
    strict = config.dialects.unknown_fields == "refuse"
    routes = routing.Routing(providers, policy(config), chosen.instruction, strict=strict)
    shut = breaker.Limits(chosen.breaker_failures, chosen.breaker_pause)
    guards = breaker.Breakers(shut, _tell)
    orphans = survey.Survey(log, accounts, config.streaming.log_patience)
    most, waiting = limits(config), line.Line(lambda: tick.busy, on=config.server.max_lag > 0)
    written = writers.Writers(
        log, create, routes, tick, tasks, observers, most, guards, orphans, waiting, kept, tracer
    )
    return Writing(tick, routes, guards, orphans, written)


def _tell(provider: str, state: breaker.State) -> None:
    if state == "open":
        _log.warning("breaker_opened", provider=provider)
    elif state == "closed":
        _log.info("breaker_closed", provider=provider)


def _tick(
    config: settings.Settings, log: base.EventLog, appends: histogram.Recorder
) -> ticker.Ticker:
    chosen = config.streaming
    return ticker.Ticker(
        log,
        flush_interval=chosen.flush_interval,
        patience=chosen.log_patience,
        appends=appends,
    )
