"""Connections of all nodes: what this node tells others of its own, and what they tell it.

Strategy: a question holds who asks, so each node decides by the same rule what is theirs to see,
and answers with what its own route would show. Who answers for all merges that with its own, and
says which nodes have not told theirs.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from holdfast import connections, events
from holdfast.access import principal
from holdfast.eventlog import base
from holdfast.http import views

LIST_LIMIT = 200
"""Connections in one answer, the newest."""

WAIT_SECONDS = 1.0
"""For other nodes; one that takes longer is told as silent."""

ALONE = "this"
"""The name of a node that has no others."""


class Question(msgspec.Struct, frozen=True):
    """Which connections: those of one stream of this owner, one by its `id`, or all; of them those
    that the asker may see."""

    asker: principal.Principal
    stream: events.StreamId | None = None
    owner: str = ""
    id: str | None = None


_question = msgspec.msgpack.Decoder(Question).decode
_seen = msgspec.msgpack.Decoder(list[views.ConnectionView]).decode
_encode = msgspec.msgpack.Encoder().encode


def own(book: connections.Book, asked: Question) -> list[views.ConnectionView]:
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


def answer(book: connections.Book, question: bytes) -> bytes:
    """To another node's question; nothing where this version cannot read it."""
    try:
        return _encode(own(book, _question(question)))
    except (msgspec.DecodeError, ValueError):
        return b""


async def all_of(
    book: connections.Book, nodes: base.Nodes | None, asked: Question
) -> tuple[list[views.ConnectionView], list[views.NodeView]]:
    """Those of all nodes, and which of these have answered. One by its id that is found here is
    asked of nobody else. Raises `errors.LogUnavailable`."""
    found = own(book, asked)
    told = [views.NodeView(ALONE if nodes is None else nodes.name, True)]
    if nodes is None or (asked.id is not None and found):
        return found, told
    for name, said in (await nodes.ask(_encode(asked), WAIT_SECONDS)).items():
        theirs = _read(said)
        told.append(views.NodeView(name, theirs is not None))
        found += theirs or ()
    found.sort(key=lambda one: one.created_at, reverse=True)
    found.sort(key=lambda one: not connections.TRANSITIONS[one.status])
    return found[:LIST_LIMIT], told


def _read(said: bytes | None) -> list[views.ConnectionView] | None:
    """What another node answers; None where it does not, or not in a way that is known here."""
    try:
        return _seen(said) if said else None
    except msgspec.DecodeError:
        return None
