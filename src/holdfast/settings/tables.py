"""The settings: one frozen model for each table of `holdfast.toml`.

Strategy: the text below a field gives its unit, its meaning and the reason for its default;
`docs/settings.md` repeats it, and a test compares the two. Every number has a lowest and a
highest value. The table of who answers is in `providers`, those of who is asked next are in
`fallback`, those of who may ask in `access`, that of what is watched in `monitoring`, that of keys
in `sealing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from holdfast.settings import access
from holdfast.settings.access import Archive, Jwt, Plan, Price, Quota
from holdfast.settings.fallback import Fallback, Route
from holdfast.settings.fields import (
    DURATION,
    Certificates,
    Count,
    Duration,
    Host,
    Hosts,
    LogUrl,
    Model,
    Named,
    Origins,
    Proxy,
    Size,
    Table,
)
from holdfast.settings.monitoring import Monitoring
from holdfast.settings.providers import Provider, Providers
from holdfast.settings.sealing import Sealing

KIB, MIB, GIB = 1024, 1024**2, 1024**3  # bytes
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0  # seconds


class Server(Table):
    """The HTTP server."""

    host: Host = "127.0.0.1"
    """Address to listen on. This machine alone, until somebody decides otherwise."""

    port: Count = Field(default=8080, ge=0, le=65535)
    """TCP port to listen on; 0 takes any free one. 8080 needs no rights."""

    workers: Count = Field(default=1, ge=1, le=256)
    """Processes that serve, on one port and one log; each is a node. More than one need a log that
    they can share: without `redis://` they get a Valkey of their own (`holdfast[local]`), which
    keeps its files beside where the log would be. One serves thousands of readers."""

    cors_origins: Origins = ()
    """Origins whose pages a browser lets read answers; `*` is every origin, without
    credentials. Empty: only pages of this very server, which is the safe beginning."""

    cors_credentials: bool = False
    """Whether browsers may send cookies along, for a proxy that lets people in by them; only with
    origins that are named, for with `*` any page could read in their name. Keys need none."""

    max_connections: Count = Field(default=10_000, ge=1, le=1_000_000)
    """Open event streams that this node holds; a reader beyond is told to come back. Some
    300 MB of memory, 500 where all are sent gzip. Never over (open files - 256) / 2, whatever
    stands here."""

    max_lag: Duration = Field(default=0.5, ge=0, le=MINUTE)
    """How late the event loop may come, or how long the log may take for what was said, most of the
    times, before new streams are refused, as they would slow down those under way; of low priority
    from three quarters of it on. Readers are let in all the same. 0 is never, and no new stream
    waits for its turn either, as it does else where the loop is late by 50 ms. A node whose core is
    full of streams that go on comes 0.1 s late and still gets through."""

    connection_timeout: Duration = Field(default=5 * MINUTE, ge=0.1, le=DAY)
    """Time after which a connection that takes no byte is closed. Accepted heartbeats count,
    so five minutes are twenty heartbeats in a row: the reader is gone."""

    heartbeat_interval: Duration = Field(default=15.0, ge=0.05, le=5 * MINUTE)
    """Longest silence on a connection. Proxies cut a silent connection after 30 seconds at
    the earliest; half of that leaves room for one that is late."""

    write_timeout: Duration = Field(default=30.0, ge=0.1, le=HOUR)
    """How long a reader that has bytes waiting may take none of them; then its connection is cut,
    and it may come back to where it was. A tunnel or a lift lasts less."""

    max_connection_age: Duration = Field(default=0.0, ge=0, le=30 * DAY)
    """Time after which a reader is asked to come back on a new connection; 0 is never, as
    streams end by themselves. Set it where a load balancer should spread readers anew."""

    drain_timeout: Duration = Field(default=30.0, ge=0, le=HOUR)
    """How long a node that is told to stop lets its streams go on, for their readers; then those
    are asked to come back. What most schedulers grant before they kill."""

    max_body: Size = Field(default=4 * MIB, ge=KIB, le=64 * MIB)
    """Largest request body. A conversation of a million tokens is about this large."""

    @model_validator(mode="after")
    def _credentials_are_for_somebody(self) -> Self:
        if self.cors_credentials and (not self.cors_origins or "*" in self.cors_origins):
            raise ValueError("cors_credentials needs cors_origins to be named, without *")
        return self

    @model_validator(mode="after")
    def _heartbeats_keep_alive(self) -> Self:
        if self.heartbeat_interval >= self.connection_timeout:
            raise ValueError(
                f"heartbeat_interval ({DURATION.show(self.heartbeat_interval)}) must be shorter "
                f"than connection_timeout ({DURATION.show(self.connection_timeout)})"
            )
        return self


class Log(Table):
    """The event log, where answers are kept."""

    url: LogUrl = "sqlite:///holdfast.db"
    """Where the log is: `sqlite:///FILE` (relative to where the server starts; four slashes
    for an absolute path), `redis://HOST`, which many nodes share (`docs/cluster.md`), or `memory://`,
    which forgets at exit. A file, because it survives a crash and needs no service."""

    durability: Literal["process", "power"] = "process"
    """What an acknowledged event survives: `process` the end of the process, `power` also
    that of the machine, for one disk flush each tick. Answers can be asked for again, so the
    default is the faster one."""

    retention: Duration = Field(default=7 * DAY, ge=1, le=3650 * DAY)
    """How long a finished stream can be read. A week outlasts a long weekend; what is to be
    kept longer belongs into a store of its own."""

    live: Duration = Field(default=10 * MINUTE, ge=1, le=3650 * DAY)
    """How long a finished stream stays in a Redis log once the archive has it; from then on it is
    read from there. Enough for readers who come back, and memory is for what is under way."""

    lease: Duration = Field(default=15, ge=1, le=5 * MINUTE)
    """How long a node may be silent before others of its Redis log go on with its answers: so long
    readers of a dead node's answer wait for the next word. Well above the pauses of a busy machine:
    a node that only stood still is then called for twice, until it wakes."""

    max_stream_bytes: Size = Field(default=16 * MIB, ge=KIB, le=GIB)
    """Largest stream, in bytes of stored events; a longer one ends with an error. An answer
    of 128,000 tokens, each its own event, stays below half of it."""


class Streaming(Table):
    """How an answer's pieces gather on their way into the log, and what their sizes show."""

    buffer_size: Size = Field(default=8 * KIB, ge=1, le=64 * KIB)
    """What a stream gathers at most before it is written without waiting; 80 % of it
    suffices. A request may name its own. Some hundred tokens: it matters only for bursts."""

    flush_interval: Duration = Field(default=0.1, ge=0, le=10)
    """Longest wait before what has gathered is written. Only a busy node waits at all; a
    tenth of a second still reads as live. What providers say waits unread meanwhile, 90 ms at
    most whatever this is. A request may name its own, as `flush_interval_ms`."""

    cadence: Duration = Field(default=0.0, ge=0, le=10)
    """An answer's events come at multiples of this time since it was asked for, and no oftener,
    whatever a request names; 0 is at once. For those who fear that the times of encrypted packets
    tell an answer (`docs/side-channel.md`). Off, as every token then waits for half of it."""

    padding: bool = False
    """Whether each piece of an answer is filled up to a whole number of 32 bytes when it is
    sent, so that the sizes of encrypted packets do not tell its words (`docs/side-channel.md`).
    OpenAI's APIs are padded in any case, unless the request says no. Off, as it costs some 50
    bytes a token."""

    unsaved_per_stream: Size = Field(default=256 * KIB, ge=KIB, le=64 * MIB)
    """What a stream may hold that is not yet in the log; beyond, its provider is not read.
    Minutes of an answer, so that only a log that stands still pauses anybody."""

    unsaved_per_node: Size = Field(default=64 * MIB, ge=KIB, le=64 * GIB)
    """The same for all streams of the node together; beyond, new ones are refused. 256
    streams that are full."""

    requests_per_node: Size = Field(default=256 * MIB, ge=KIB, le=1024 * GIB)
    """All requests together whose answers are under way; beyond, new streams are refused; the last
    tenth is for tenants that hold less than half of it. In memory they take about three times as
    much, as each is kept for whom it may be asked next."""

    log_patience: Duration = Field(default=30.0, ge=0.1, le=HOUR)
    """How long a log that fails is tried before the provider calls are stopped. Outlasts a
    restart or a failover of a store, not an outage."""

    abandon_after: Duration = Field(default=0.0, ge=0, le=DAY)
    """Time without any reader after which a stream is cancelled; 0 is never, as readers drop off
    and come back. Set it where each unread token is money lost."""


class Deadlines(Table):
    """What a provider is given time for; where one passes, the attempt has failed."""

    connect: Duration = Field(default=10.0, ge=0.05, le=5 * MINUTE)
    """From the call to an open connection: name look-up, TCP and TLS. Three lost packets
    still fit."""

    first_byte: Duration = Field(default=2 * MINUTE, ge=0.05, le=HOUR)
    """From the call to the first byte of a response. Some vendors queue a request, or load a
    model, before they answer at all."""

    first_content: Duration = Field(default=10 * MINUTE, ge=0.05, le=HOUR)
    """From the call to the first piece of the answer; pings do not count. Reasoning models
    think for minutes without a word; vendors' own clients wait as long."""

    between_contents: Duration = Field(default=3 * MINUTE, ge=0.05, le=HOUR)
    """From one piece of the answer to the next; pings do not count. Pauses of over a minute
    between reasoning and answer were seen on healthy calls."""

    total: Duration = Field(default=HOUR, ge=0.05, le=DAY)
    """From the call to its end. 128,000 tokens at 40 a second take 53 minutes."""


class Network(Table):
    """How providers are reached."""

    ca_file: Certificates = None
    """A file with certificates (PEM) that are trusted besides the system's: those of a private
    authority. None, as vendors' certificates are public ones."""

    https_proxy: Proxy = None
    """The HTTP proxy for providers at `https://`; it passes the encrypted bytes on. It may hold
    `user:password@`, %-escaped, and is shown nowhere. None: no proxy, as most nodes need none."""

    http_proxy: Proxy = None
    """The same for providers at `http://`: this proxy reads what it passes on. None: no proxy,
    as such providers are mostly near."""

    no_proxy: Hosts = ()
    """Where no proxy is used: a host or a domain with all below it (`.example.com`: only what is
    below) or an address, each with or without a port, or a network such as `10.0.0.0/8`; `*` is
    everywhere. This machine never needs one. Empty: a proxy that is named is meant for all."""

    keep_alive: Duration = Field(default=15.0, ge=0, le=HOUR)
    """How long a connection to a provider is kept for the next call after the last; 0 keeps
    none. Short, as the other side may close it in the moment in which it is used again."""


class Compression(Table):
    """Compressed answers to readers."""

    enabled: bool = True
    """Whether a reader that accepts it gets its events compressed, unless they are padded. On, as
    it saves four fifths of what is sent for 3 µs of CPU a token and 12 KB a reader."""

    algorithm: Literal["gzip", "deflate", "br", "zstd"] = "gzip"
    """The coding that is preferred where a reader takes several. Token by token gzip saves most,
    and every client knows it. `br` and `zstd` need their libraries (`holdfast[brotli]`,
    `holdfast[zstd]`) and more memory, 300 KB and 50 KB a reader."""

    level: Count = Field(default=6, ge=1, le=9)
    """1 is the fastest, 9 the smallest. 6 is zlib's own choice; from 1 to 9 it is one per cent."""


class Dialects(Table):
    """The other APIs that are spoken beside our own."""

    unknown_fields: Literal["refuse", "drop"] = "refuse"
    """What becomes of a field that only providers of another kind know than the one that is
    asked, such as `reasoning_effort` where Anthropic answers. `refuse` names it in a 400, as an
    answer without it is not what was asked for; `drop` leaves it out. Fields that change
    nothing in the answer are left out in any case."""

    chat_model: Model = None
    """The model for `POST /api/chat` where the body names none, as `useChat` by itself does not;
    without one the first route answers, or else the first model that a provider names."""


class Settings(BaseSettings):
    """All tables. Made by `sources.load`; made by hand, it is what it is given."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, env_nested_delimiter="__"
    )

    server: Server = Server()
    log: Log = Log()
    streaming: Streaming = Streaming()
    deadlines: Deadlines = Deadlines()
    network: Network = Network()
    compression: Compression = Compression()
    sealing: Sealing = Sealing()
    monitoring: Monitoring = Monitoring()
    fallback: Fallback = Fallback()
    dialects: Dialects = Dialects()
    archive: Archive = Archive()
    jwt: Jwt = Jwt()
    quota: Quota = Quota()
    providers: Providers = Field(default={})
    routes: Named[Route] = Field(default={})
    plans: Named[Plan] = Field(default={})
    prices: Named[Price] = Field(default={})

    @model_validator(mode="after")
    def _costs_have_prices(self) -> Self:
        access.check_priced(self.quota, self.plans, self.prices)
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """No source but the arguments: the environment is read in `sources` alone."""
        return (init_settings,)


NAMED: Mapping[str, type[Table]] = MappingProxyType(
    {"providers": Provider, "routes": Route, "plans": Plan, "prices": Price}
)
"""The tables of which there are several, each with a name of its own, by what they are below."""

MODELS: Mapping[str, type[Table]] = MappingProxyType(
    {
        name: type(table.default)
        for name, table in Settings.model_fields.items()
        if isinstance(table.default, Table)
    }
    | {f"{table}.*": model for table, model in NAMED.items()}
)
"""The model of every table by its name; that of all providers is `providers.*`."""

KNOWN: Mapping[str, FieldInfo] = MappingProxyType(
    {
        f"{table}.{name}": field
        for table, model in MODELS.items()
        for name, field in model.model_fields.items()
    }
)
"""Every setting by its dotted name; `providers.*.kind` stands for each provider's."""
