"""What all nodes know: what this one tells others of its own, and what they tell it.

Strategy: a question goes to every node and is answered by the same code that this node asks itself.
A question about connections holds who asks, so each node decides by the same rule what is theirs
to see. Who asks puts the answers together, and says which nodes have not told theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from holdfast import connections, errors, events
from holdfast.access import principal
from holdfast.archiving import keeper
from holdfast.http import views
from holdfast.service import Service
from holdfast.telemetry import counts, failures, samples, vitals
from holdfast.telemetry.alerts import replica

LIST_LIMIT = 200
"""Connections in one answer, the newest."""

WAIT_SECONDS = 1.0
"""For other nodes; one that takes longer is told as silent."""

WORKER_SECONDS = 0.5
"""For workers of one's own port, on the same machine: whoever scrapes waits, too."""

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


class Failed(msgspec.Struct, frozen=True, tag=True):
    """What has failed since the node began."""


class Watched(msgspec.Struct, frozen=True, tag=True):
    """What a node sees, and knows, of alerts."""


class Scraped(msgspec.Struct, frozen=True, tag=True):
    """What a worker of this group tells Prometheus."""

    group: str


class Counted(msgspec.Struct, frozen=True):
    """A node's answer to `Totals`: since it began, and by minute."""

    total: counts.Counts
    minutes: dict[int, counts.Counts]
    archive: keeper.State
    vitals: vitals.Vitals


_question = msgspec.msgpack.Decoder(Readers | Totals | Failed | Watched | Scraped).decode
_seen = msgspec.msgpack.Decoder(list[views.ConnectionView]).decode
_counted = msgspec.msgpack.Decoder(Counted).decode
_failed = msgspec.msgpack.Decoder(list[failures.Failure]).decode
_watched = msgspec.msgpack.Decoder(replica.Told).decode
_scraped = msgspec.msgpack.Decoder(samples.Node).decode
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
    return Counted(
        service.insight.counted(),
        minutes,
        service.keeper.state,
        service.insight.vitals,
    )


def node(service: Service) -> samples.Node:
    """What this node tells Prometheus."""
    rows, archive = service.config.providers, service.keeper.state
    return samples.Node(
        service.insight.counted(),
        service.insight.vitals,
        {name: rows[name].kind if name in rows else name for name in service.providers.names},
        archive.lag_ms,
        archive.reports_waiting,
        archive.reports_dropped,
        service.keys.key_age_ms,
        service.keys.failures,
        service.keys.unreadable,
    )


def answer(service: Service, watched: Callable[[], replica.Told], question: bytes) -> bytes:
    """To another node's question; nothing where this version cannot read it. `watched` tells of
    this node's alerts."""
    try:
        asked = _question(question)
        if isinstance(asked, Totals):
            return _encode(totals(service, asked))
        if isinstance(asked, Failed):
            return _encode(service.insight.failed())
        if isinstance(asked, Watched):
            return _encode(watched())
        if isinstance(asked, Scraped):
            return _encode(node(service)) if asked.group == service.insight.worker.group else b""
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
        return found, [views.NodeView(own_name(service), True)]
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


def own_totals(service: Service) -> tuple[dict[str, Counted], list[views.NodeView]]:
    """As `totals_of_all`, of this node alone."""
    return {service.name: totals(service, Totals())}, _nodes(service, {})


async def failed_of_all(
    service: Service,
) -> tuple[list[failures.Failure], list[views.NodeView]]:
    """What failed on all nodes, and which of them have answered. Raises `errors.LogUnavailable`."""
    others = await _ask(service, Failed(), _failed)
    told = [theirs for theirs in others.values() if theirs is not None]
    return failures.merged([service.insight.failed(), *told]), _nodes(service, others)


async def watched_of_others(service: Service) -> dict[str, replica.Told | None]:
    """What the other nodes tell of alerts. Raises `errors.LogUnavailable`."""
    return await _ask(service, Watched(), _watched)


async def workers(service: Service) -> dict[str, samples.Node]:
    """What those tell Prometheus that serve one port with this node, by their numbers, as far as
    they answer; one that is alone has none."""
    own = service.insight.worker
    if not own.group:
        return {"": node(service)}
    try:
        others = await _ask(service, Scraped(own.group), _scraped, WORKER_SECONDS)
    except errors.LogUnavailable:  # which is to be seen on this page
        others = {}
    told = {one.vitals.worker: one for one in others.values() if one is not None}
    told[own.number] = node(service)
    return {str(number): told[number] for number in sorted(told)}


async def _ask(
    service: Service,
    asked: Readers | Totals | Failed | Watched | Scraped,
    read: Callable[[bytes], T],
    seconds: float = WAIT_SECONDS,
) -> dict[str, T | None]:
    """What each other node answers; None where it does not, or not in a way that is known here."""
    nodes, answers = service.log.nodes, dict[str, T | None]()
    if nodes is None:
        return answers
    for name, said in (await nodes.ask(_encode(asked), seconds)).items():
        try:
            answers[name] = read(said) if said else None
        except msgspec.DecodeError:
            answers[name] = None
    return answers


def _nodes(service: Service, others: dict[str, T | None]) -> list[views.NodeView]:
    own = views.NodeView(own_name(service), True)
    return [own, *(views.NodeView(name, said is not None) for name, said in others.items())]


def own_name(service: Service) -> str:
    """This node's, where nodes are listed."""
    return ALONE if service.log.nodes is None else service.name
