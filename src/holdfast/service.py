"""Holdfast without HTTP: create, events, get, find, cancel, connections.

Strategy: the service joins the parts that the layers below keep apart: it resolves a
provider, writes a stream's first event, hands it to the writers, and gives readers the log. It
holds no state of a stream; all is read from the log. It owns
every task through its supervisor, and stops in a fixed order: no new streams, what is under way
ends or its time does, readers are sent away, producers stop, the log closes last.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import structlog

from holdfast import (
    admission,
    answer,
    connections,
    endings,
    errors,
    events,
    insight,
    request,
    resealing,
    settings,
    supervisor,
    upkeep,
)
from holdfast.access import gate, ids, principal
from holdfast.archive import base as archive_base
from holdfast.archiving import keeper
from holdfast.eventlog import base, reader, watch
from holdfast.events import Event, Position, StreamId
from holdfast.metering import account, ledger, line, turns
from holdfast.producing import configured, opening, producer, tally
from holdfast.producing.opening import Created, Origin
from holdfast.providers import registry
from holdfast.sealing import holder
from holdfast.telemetry import counts, observer, record, tracing, vitals

GATHERED = 4
"""Answers that are put together at a time; each may be as large as an answer may be."""

DRAIN_LOOK = 0.05
"""Seconds between two looks at what is still under way while the node drains."""

Take = Callable[[Event], object]
_log = structlog.get_logger("holdfast")


class Service:
    """`async with Service(...)` starts and closes it."""

    def __init__(
        self,
        log: base.EventLog,
        providers: registry.Registry,
        config: settings.Settings,
        *,
        connection_limit: int | None = None,
        prepare: opening.Prepare = opening.expand_context,
        observers: Sequence[object] = (),
        fatal: Callable[[str], None] = lambda why: None,
        access: gate.Gate | None = None,
        accounts: ledger.Ledger | None = None,
        archive: archive_base.Archive | None = None,
        keys: holder.Holder | None = None,
        tracer: tracing.Tracer = tracing.UNTRACED,
        worker: vitals.Worker = vitals.ALONE,
    ) -> None:
        """`connection_limit` stands for the setting where the machine allows fewer. `prepare`
        is where a prompt service plugs in. `fatal` is told why the node cannot go on, when a
        background task has ended unasked. `access` lets callers in, which is for whoever serves
        them to ask, and opens `archive`; without `accounts` nobody has a quota. `keys` has
        the ring that log and archive seal by."""
        self.providers, self.config, self.tracer = providers, config, tracer
        self._life = secrets.token_bytes(8).hex()
        self.keeper = keeper.Keeper(log, archive, self._counted, lambda: self.name)
        self.log = self.keeper.log
        self.watch = watch.Watch(log)  # what the archive has never moves
        self.observers = observer.Observers(observers)
        self.connections = connections.Book(connection_limit or config.server.max_connections)
        self.supervisor = supervisor.Supervisor(self._fail)
        self.draining = self._hurried = self._closed = self.running = False
        self.failure: str | None = None
        """Why the node cannot go on; None while it can."""
        self.access, self.keys = access, keys or holder.Holder()
        self.accounts = accounts or ledger.Ledger()
        self._fatal, self._prepare = fatal, prepare
        kept = record.Record(providers.label)
        # What is under way is in the log itself: its writing waits for no archive.
        writing = configured.writing(
            config,
            log,
            self.log.create,
            providers,
            self.accounts,
            self.supervisor,
            self.observers,
            kept,
            tracer,
        )
        self._ticker, self._routing, self._breakers, self._survey, self._writers = writing
        self._admission = admitting = admission.Admission(
            config, self.connections, self.accounts, writing, kept, lambda: self.draining
        )
        late = admitting.lateness
        self.insight = insight.Insight(
            config, self.connections, writing, kept, worker, lambda: self.draining, late
        )
        of = (self._writers, self._ticker, self.watch, admitting.log_lost)
        self._upkeep = upkeep.Upkeep(config, access, self.connections, *of)
        stores: dict[str, resealing.Store] = {"log": self.log, "archive": self.keeper.archive}
        self.seal = resealing.Resealing(self.keys.sealer, self.log, stores, self.supervisor)
        self.seal.gone.append(lambda stream: self.watch.wake(stream))
        self.shred, self.unreadable = self.seal.shred, kept.unreadable
        self._gathering = turns.Turns(GATHERED)
        self._undo: base.Undo = lambda: None
        self._beside: list[tuple[Callable[[], Coroutine[Any, Any, None]], str]] = []

    async def __aenter__(self) -> Service:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Opens the log; what a dead process left open is ended from then on. Raises
        `errors.LogError`, `KeysUnavailable`, `SettingsError`."""
        await self.keys.start()
        await self.log.start()
        self.running = True
        if self.access is not None:
            await self.access.start()
            self.supervisor.service(self.access.run(), "keys")
            self.supervisor.job(self.access.follow_issuer(), "keys of the issuer")
        self.supervisor.service(self.accounts.run(), "accounts")
        self.supervisor.service(self.keys.run(), "key ring")
        self._undo = self.log.watch_cancels(self._writers.cancelled)
        self.supervisor.service(self._ticker.run(), "ticker")
        self.providers.gather(self._ticker)
        self.supervisor.service(self.watch.run(), "watch")
        self.supervisor.service(self.seal.run(), "sealing")
        self.supervisor.service(self._upkeep.sweep(), "sweep")
        self.supervisor.service(self.insight.measure(), "event loop")
        for work, name in self.keeper.tasks(self.config.log):
            self.supervisor.service(work, name)
        self.supervisor.service(self.log.until_ended(), "event log")
        for begin, name in self._beside:
            self.supervisor.service(begin(), name)
        adopting = self._writers.adopt_orphans(lambda: self.draining)
        self.supervisor.service(adopting, "orphans")

    async def close(self) -> None:
        """Idempotent, and safe before `start`. Streams under way stay in a durable log as
        they are; the next start finds them."""
        self._send_away()
        self._closed = True
        self._undo()
        self.watch.wake_all()
        await self.supervisor.close()
        await self.providers.close()
        if self.running:
            await self.accounts.share()
            await self.keeper.reporter.close()
        if self.access is not None:
            await self.access.close()
        await self.log.close()
        if self.running:
            self.running = False
            _log.info("node_stopped", ticks=self._ticker.ticks, batches=self._ticker.batches)

    def beside(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """Before `start`: what else is to run as long as the node does, and not to end before."""
        self._beside.append((work, name))

    def _fail(self, why: str) -> None:
        """A background task has ended unasked: the node is of no use any more."""
        self.failure = why
        self._send_away()
        self._fatal(why)

    async def drain(self, seconds: float | None = None) -> None:
        """Refuses new streams and new readers, and waits until every stream that is written here
        has ended and its readers have it, `seconds` at most (`server.drain_timeout`);
        then asks the readers that are left to come back. Idempotent."""
        if seconds is None:
            seconds = self.config.server.drain_timeout
        if not self.draining:
            _log.info(
                "draining",
                streams=len(self._writers),
                readers=len(self.connections),
                timeout=seconds,
                hint="another signal ends it",
            )
        self.draining = True
        self._writers.line.end()
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not self._hurried and (self._writers or self.connections):
            left = end - loop.time()
            if left <= 0:
                break
            await asyncio.sleep(min(left, DRAIN_LOOK))
        self._send_away()

    def hurry(self) -> None:
        """Ends a `drain` that waits. May be called from a signal handler."""
        self._hurried = True

    def _send_away(self) -> None:
        """Refuses new streams and asks every reader to come back later."""
        self.draining = self._hurried = True
        self._writers.line.end()
        self._survey.end()
        self.connections.dismiss(endings.DRAINING)

    async def create(
        self,
        wanted: request.Request,
        origin: Origin = opening.NOBODY,
        accounts: Sequence[account.Account] | None = None,
    ) -> Created:
        """A stream for this request; it is written from now on, whoever reads it. `accounts` are
        those that it counts in, of whom `surveyed` has been asked; without them they are found.

        Raises `errors.RequestError`, `MissingKey`, `Draining`, `Overloaded`, `QuotaError`,
        `LogUnavailable`, `IdempotencyMismatch`.
        """
        if accounts is None:
            accounts = await self.accounts.of(origin.owner, origin.key)
            await self.surveyed(accounts)
        self._admission.check_room(wanted.metadata.priority, accounts)
        prepared = await self._prepare(wanted)
        # There may be less of it by now.
        self._admission.check_room(wanted.metadata.priority, accounts)
        now = asyncio.get_running_loop().time()
        route, call = self._routing.begin(prepared, self._breakers, now)
        target = route.targets[call.target]
        provider, model = target.provider.name, target.model
        header = opening.header(wanted, prepared, origin, provider, model, events.now_ms())
        stream = opening.stream_id(origin, self.log.secret)
        size = len(header.request)
        try:
            counted = self.accounts.open(accounts, prepared, size, provider, model)
        except errors.QuotaError:
            found = await self.log.stat(stream) if origin.idempotency_key else None
            if not isinstance(found, base.Info):
                raise
            return opening.attach(stream, header, found.header)
        work = producer.Work(
            stream, base.Life(0, 0), prepared, call, tally.Tally(), route, 0, counted, size
        )
        making = self._writers.begin(work, header, origin.parent)
        try:
            waiting = line.PATIENCE if self._writers.line.joined() else 0.0
            async with asyncio.timeout(self.config.streaming.log_patience + waiting):
                return await asyncio.shield(making)
        except TimeoutError:
            raise errors.LogUnavailable("The event log did not take the stream in time.") from None

    async def surveyed(self, accounts: Sequence[account.Account]) -> None:
        """Returns when it is known what these accounts have under way, for whoever asks for a new
        stream. Raises `errors.LogUnavailable` where that takes too long, and what is raised
        whatever the stream is: `Draining`, `Overloaded`."""
        if accounts:
            await self._survey.wait()
        self._admission.check_any()

    async def stat(self, stream: StreamId, asker: principal.Principal | None = None) -> base.Info:
        """Raises `errors.StreamNotFound`, which is also what a stream is to those who may not see
        it, and `StreamExpired` for those who might. None is the embedder, who may see all."""
        if asker is not None and not ids.may_be(self.log.secret, stream, asker):
            raise errors.StreamNotFound
        found = await self.log.stat(stream)
        if found is None:
            raise errors.StreamNotFound
        owner = found.header.owner if isinstance(found, base.Info) else found.owner
        if asker is not None and not principal.owns(asker, owner, stream):
            raise errors.StreamNotFound
        if isinstance(found, base.Tombstone):
            raise errors.StreamExpired
        return found

    @property
    def name(self) -> str:
        """This node's, for as long as it lives; there after `start`."""
        return self._life if self.log.nodes is None else self.log.nodes.name

    def _counted(self) -> counts.Counts:
        return self.insight.counted()

    @property
    def log_failing(self) -> bool:
        """The log has refused the present tick."""
        return self._ticker.failing_since is not None

    def check_ready(self) -> None:
        """Raises what a reader is sent away with now: `errors.Draining`, `LogUnavailable`."""
        self._admission.check_ready()

    def check_place(
        self, accounts: Sequence[account.Account], new: request.Priority | None = None
    ) -> None:
        """Raises what a reader who counts in these accounts is sent away with for want of a place:
        `errors.TooManyConnections`, `ConnectionLimit`. `new`: it asks for a stream that is to be
        made, with this priority."""
        self._admission.check_place(accounts, new)

    def admit(self, reader: connections.Connection) -> None:
        """Takes a slot for a reader; raises what `check_ready` and `check_place` raise."""
        self.check_ready()
        self.check_place(reader.accounts)
        self.connections.enter(reader)

    async def events(
        self, stream: StreamId, after: Position = events.BEGIN
    ) -> AsyncIterator[Event]:
        """Every event after the position, as it comes, to the terminal one. A position that
        the log does not hold gives a transient `rewind` first. Raises `errors.Draining` where
        the service closes before the stream has ended, `StreamNotFound`, `LogCorrupt`."""
        flag = reader.Flag()
        undo = self.watch.add(stream, flag.set)
        try:
            source = reader.LogSource(self.log, stream)
            async with contextlib.aclosing(reader.follow(source, after, flag)) as pages:
                async for page in pages:
                    for event in page.events:
                        yield event
                    if self._closed and not page.closed:
                        raise errors.Draining
        finally:
            undo()

    async def get(self, stream: StreamId, tenant: str | None = None) -> answer.Answer:
        """The answer as far as it is written, for somebody of this tenant; None is the embedder,
        who waits for nobody. Raises `errors.Overloaded` where too many of a tenant wait."""
        so_far = answer.Answer()
        await self.tell(stream, so_far.add, tenant)
        return so_far

    async def tell(
        self, stream: StreamId, take: Take, tenant: str | None = None, *, owed: bool = False
    ) -> None:
        """Hands on each event that is there by now, gathered as `get`; never refused if `owed`."""
        async with self._gathering.one(tenant, counted=owed):
            await reader.tell(self.log, stream, take)

    async def page(self, stream: StreamId, after: Position, limit: int) -> base.Page:
        """A page of events; raises what the log's `read` raises."""
        return await self.log.read(stream, after, limit)

    async def find(self, query: base.Query) -> list[base.Info]:
        """Streams, newest first."""
        return await self.log.find(query)

    async def cancel(self, stream: StreamId) -> bool:
        """Asks for the stream's end. True: its terminal event is there already. Raises
        `errors.StreamNotFound`."""
        await self.log.request_cancel(stream)
        return (await self.stat(stream)).head.closed
