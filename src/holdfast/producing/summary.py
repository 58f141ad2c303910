"""The one line that is logged of a stream, when it has ended.

Strategy: a pure function gathers the facts that are known where the stream was written, so that a
search for any of its ids finds how it went. What is not known is left out, and never a made-up 0.
Nothing of what was asked or answered is among them.
"""

from __future__ import annotations

from holdfast import errors, events
from holdfast.access import principal
from holdfast.producing import producer

Ending = events.Complete | events.Error | None
"""How a stream ended; None where another life has taken it over."""

Facts = dict[str, str | int | None]


def facts(work: producer.Work, ending: Ending, age_ms: int, first_chunk_ms: int | None) -> Facts:
    """The line's fields, in their order. Without a header nothing was read of the stream, so that
    nothing is known of it but its end."""
    told: Facts = {"stream": work.stream, **_of_the_request(work)}
    told["status"] = status(ending)
    if isinstance(ending, events.Complete):
        told["finish_reason"] = ending.finish_reason
    elif ending is not None:
        told["code"] = ending.code
    if work.header is not None:
        told |= _of_the_answer(work)
        told |= {"duration_ms": age_ms, "first_chunk_ms": first_chunk_ms}
    return {name: fact for name, fact in told.items() if fact is not None}


def status(ending: Ending) -> str:
    """How it ended, in a word."""
    if isinstance(ending, events.Complete):
        return "completed"
    if ending is None:
        return "taken_over"
    return "cancelled" if ending.code == errors.Cancelled.code else "error"


def _of_the_request(work: producer.Work) -> Facts:
    header = work.header
    if header is None:
        return {}
    provider, model = header.provider, header.model
    if work.tally.asked is not None:
        provider, _, model = work.tally.asked.partition("/")
    return {
        "request_id": header.request_id,
        "tenant": principal.parted(header.owner)[0] or None,
        "session_id": header.session_id,
        "client_id": header.client_id,
        "dialect": header.dialect,
        "provider": provider,
        "model": model,
    }


def _of_the_answer(work: producer.Work) -> Facts:
    tally = work.tally
    used = tally.usage
    return {
        "chunks": tally.chunks,
        "bytes": tally.bytes,
        "input_tokens": used.input_tokens if used else None,
        "output_tokens": used.output_tokens if used else None,
        "attempts": tally.calls,
        "fallbacks": tally.fallbacks,
        "adoptions": tally.adoptions,
    }
