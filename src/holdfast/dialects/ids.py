"""Ids that clients look for, each told once.

Strategy: providers name tool calls as they like: not at all, or two of an answer alike. A client
that finds a call by its id needs every one to have its own, so the first has what the provider
said and any other what its dialect makes of the stream and the place, which is the same for every
reader.
"""

from __future__ import annotations


def once(told: set[str], given: str | None, made: str) -> str:
    """What was given, unless that is nothing or is in `told`, and then `made`; it is in `told`
    from now on."""
    id = given if given and given not in told else made
    told.add(id)
    return id
