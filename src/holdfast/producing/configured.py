"""What the settings say of producing, as the values that its parts take."""

from __future__ import annotations

from holdfast import settings
from holdfast.producing import attempt, fallback, producer


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
