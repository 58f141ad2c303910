"""What all nodes know: what this one tells others of its own, and what they tell it.

Strategy: a question goes to every node and is answered by the same code that this node asks itself.
A question about connections holds who asks, so each node decides by the same rule what is theirs
to see. Who asks puts the answers together, and says which nodes have not told theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from holdfast import connections, events
from holdfast.access import principal
from holdfast.archiving import keeper
from holdfast.http import views
from holdfast.service import Service
from holdfast.telemetry import counts

LIST_LIMIT = 200
"""Connections in one answer, the newest."""

WAIT_SECONDS = 1.0
"""For other nodes; one that takes longer is told as silent."""

ALONE = "this"
"""What a node is called that has no others."""

T = TypeVar("T")


class Readers(msgspec.Struct, frozen=True, tag=True):
    """Which connections: those of one stream of this owner, one by its `id`, or all; of them those
    that the asker may see."""

    asker: principal.Principal
    stream: events.StreamId | None = None
    owner: str = ""
    id: str | None = None


class Totals(msgspec.Struct, frozen=True, tag=True):
    """What was counted; and the minutes that began from `start` up to `end` (ms), as far as the
    archive may lack them."""

    start: int = 0
    end: int = 0


class Counted(msgspec.Struct, frozen=True):
    """A node's answer to `Totals`: since it began, and by minute."""

    total: counts.Counts
    minutes: dict[int, counts.Counts]
    archive: keeper.State


_question = msgspec.msgpack.Decoder(Readers | Totals).decode
_seen = msgspec.msgpack.Decoder(list[views.ConnectionView]).decode
_counted = msgspec.msgpack.Decoder(Counted).decode
_encode = msgspec.msgpack.Encoder().encode


def readers(book: connections.Book, asked: Readers) -> list[views.ConnectionView]:
    """Those of this node, the newest first, open ones before closed ones."""
    asker = asked.asker
    of: Iterable[connections.Connection]
    if asked.id is not None:
        found = book.find(asked.id)
        of = () if found is None else (found,)
    elif asked.stream is not None:
        of = book.all(asked.stream, *principal.parted(asked.owner))
    elif asker.sees_all:
        of = book.all()
    else:
        of = book.all(tenant=asker.tenant, user=asker.user or None)
    theirs = (one for one in of if principal.owns(asker, one.owner, one.stream))
    return [views.connection(one) for one, _ in zip(theirs, range(LIST_LIMIT), strict=False)]


def totals(service: Service, asked: Totals) -> Counted:
    """Of this node."""
    minutes = service.keeper.reporter.unwritten(asked.start, asked.end)
    return Counted(service.counted(), minutes, service.keeper.state)


def answer(service: Service, question: bytes) -> bytes:
    """To another node's question; nothing where this version cannot read it."""
    try:
        asked = _question(question)
        if isinstance(asked, Totals):
            return _encode(totals(service, asked))
        return _encode(readers(service.connections, asked))
    except (msgspec.DecodeError, ValueError):
        return b""


async def readers_of_all(
    service: Service, asked: Readers
) -> tuple[list[views.ConnectionView], list[views.NodeView]]:
    """Those of all nodes, and which of these have answered. One by its id that is found here is
    asked of nobody else. Raises `errors.LogUnavailable`."""
    found = readers(service.connections, asked)
    if asked.id is not None and found:
        return found, [views.NodeView(_own_name(service), True)]
    others = await _ask(service, asked, _seen)
    for theirs in others.values():
        found += theirs or ()
    return newest(found), _nodes(service, others)


def newest(found: list[views.ConnectionView]) -> list[views.ConnectionView]:
    """As many as one answer has, open ones before closed ones."""
    found.sort(key=lambda one: one.created_at, reverse=True)
    found.sort(key=lambda one: not connections.TRANSITIONS[one.status])
    return found[:LIST_LIMIT]


async def totals_of_all(
    service: Service, asked: Totals
) -> tuple[dict[str, Counted], list[views.NodeView]]:
    """By the names of those that have answered, and which these are. Raises
    `errors.LogUnavailable`."""
    others = await _ask(service, asked, _counted)
    told = {name: theirs for name, theirs in others.items() if theirs is not None}
    return {service.name: totals(service, asked), **told}, _nodes(service, others)


async def _ask(
    service: Service, asked: Readers | Totals, read: Callable[[bytes], T]
) -> dict[str, T | None]:
    """What each other node answers; None where it does not, or not in a way that is known here."""
    nodes, answers = service.log.nodes, dict[str, T | None]()
    if nodes is None:
        return answers
    for name, said in (await nodes.ask(_encode(asked), WAIT_SECONDS)).items():
        try:
            answers[name] = read(said) if said else None
        except msgspec.DecodeError:
            answers[name] = None
    return answers


def _nodes(service: Service, others: dict[str, T | None]) -> list[views.NodeView]:
    own = views.NodeView(_own_name(service), True)
    return [own, *(views.NodeView(name, said is not None) for name, said in others.items())]


def _own_name(service: Service) -> str:
    return ALONE if service.log.nodes is None else service.name
