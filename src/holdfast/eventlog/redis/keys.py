"""The names of all keys in Redis, and what lies under each.

Strategy: everything of a stream has its id between braces, so that a cluster keeps it on one
primary; so have the node's keys, the counters, and what has ended, each group for itself.

    holdfast:store                  hash: `version` of this layout, `secret` (see `seals`),
                                    `unclean` (see `cleaning`)
    holdfast:guards                 hash: the store's own key, by the id of what it is wrapped by
    holdfast:{ID}                   hash: what is known of a stream (see `scripts`)
    holdfast:{ID}:events            stream: an entry a batch, with the id `<epoch>-<last seq>`
    holdfast:{ID}:sealing:RANDOM    the same, while it is sealed after its end; it expires
    holdfast:streams                sorted set: ids by the time of creation; also `:owner:…` and
                                    `:tenant:…`, for those of one
    holdfast:{ended}:new            sorted set: ids by the time of the end, not archived yet
    holdfast:{ended}:archived       the same, for those that may expire
    holdfast:{nodes}:lives          set: the lives of nodes that may hold streams
    holdfast:{nodes}:life:LIFE      string: its lease, which expires
    holdfast:{nodes}:held:LIFE      set: the streams that it writes
    holdfast:{nodes}:told:LIFE      string: what the node tells the others of itself
    holdfast:{counters}:NAME        hash: sums by slot, and until when each is kept
    holdfast:{counters}             sorted set: (name, slot) by the time when it expires
    holdfast:hints                  the channel of hints
    holdfast:hints:LIFE             the channel of what is for one node alone
"""

from __future__ import annotations

from holdfast import events

STORE = b"holdfast:store"
GUARDS = b"holdfast:guards"
STREAMS = b"holdfast:streams"
ENDED = b"holdfast:{ended}:new"
ARCHIVED = b"holdfast:{ended}:archived"
NODES = b"holdfast:{nodes}:"
LIVES = NODES + b"lives"
COUNTERS = b"holdfast:{counters}"
HINTS = b"holdfast:hints"


def stream(id: events.StreamId) -> bytes:
    return b"holdfast:{%b}" % id.encode()


def entries(id: events.StreamId) -> bytes:
    return b"holdfast:{%b}:events" % id.encode()


def sealing(id: events.StreamId, random: str) -> bytes:
    return b"holdfast:{%b}:sealing:%b" % (id.encode(), random.encode())


def of_owner(owner: str) -> bytes:
    return b"holdfast:streams:owner:" + owner.encode()


def of_tenant(tenant: str) -> bytes:
    return b"holdfast:streams:tenant:" + tenant.encode()


def hints_for(life: bytes) -> bytes:
    return HINTS + b":" + life


def life(name: bytes) -> bytes:
    return NODES + b"life:" + name


def held(name: bytes) -> bytes:
    return NODES + b"held:" + name


def told(name: bytes) -> bytes:
    return NODES + b"told:" + name


def counter(name: str) -> bytes:
    return b"holdfast:{counters}:" + name.encode()
