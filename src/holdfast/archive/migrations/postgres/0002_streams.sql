-- A finished stream; `header` is sealed, and lists are made of the rest.
CREATE TABLE holdfast.stream (
    id text COLLATE "C" PRIMARY KEY, owner text COLLATE "C" NOT NULL,
    tenant text COLLATE "C" NOT NULL, status text NOT NULL, client_id text COLLATE "C",
    session_id text COLLATE "C", provider text NOT NULL, model text NOT NULL,
    created_at bigint NOT NULL, ended_at bigint NOT NULL, epoch bigint NOT NULL,
    seq bigint NOT NULL, cancelled boolean NOT NULL, header bytea NOT NULL);

-- A search for one owner's or one tenant's passes over nobody else's.
CREATE INDEX stream_by_owner ON holdfast.stream (owner, created_at, id);
CREATE INDEX stream_by_tenant ON holdfast.stream (tenant, created_at, id);
-- Of an expression, so that no search for somebody's goes by it, over what is everybody's.
CREATE INDEX stream_by_creation ON holdfast.stream ((created_at + 0), id);
CREATE INDEX stream_by_end ON holdfast.stream (ended_at);

-- Consecutive events of one life: the arrays have an item an event, `data` all of them, sealed.
CREATE TABLE holdfast.segment (
    stream text COLLATE "C" NOT NULL REFERENCES holdfast.stream ON DELETE CASCADE,
    epoch bigint NOT NULL, first bigint NOT NULL, last bigint NOT NULL,
    kinds smallint[] NOT NULL, times bigint[] NOT NULL, sizes integer[] NOT NULL,
    crcs bigint[] NOT NULL, data bytea NOT NULL,
    PRIMARY KEY (stream, epoch, first));

CREATE TABLE holdfast.attempt (
    stream text COLLATE "C" NOT NULL REFERENCES holdfast.stream ON DELETE CASCADE,
    number integer NOT NULL, provider text NOT NULL, model text NOT NULL,
    begun_at bigint NOT NULL, how text NOT NULL, error text NOT NULL,
    duration_ms bigint NOT NULL, input_tokens bigint, output_tokens bigint,
    total_tokens bigint, reasoning_tokens bigint, cached_tokens bigint,
    PRIMARY KEY (stream, number));

-- A stream that was let go.
CREATE TABLE holdfast.tombstone (
    stream text COLLATE "C" PRIMARY KEY, owner text NOT NULL, expired_at bigint NOT NULL);
CREATE INDEX tombstone_by_time ON holdfast.tombstone (expired_at);

-- Every event without its data, for people.
CREATE VIEW holdfast.event AS
    SELECT segment.stream, segment.epoch, segment.first + item.place - 1 AS seq,
        CASE item.kind
            WHEN 1 THEN 'start' WHEN 2 THEN 'chunk' WHEN 3 THEN 'metadata'
            WHEN 4 THEN 'rewind' WHEN 5 THEN 'error' WHEN 6 THEN 'complete' END AS kind,
        item.ts, item.size, item.crc
    FROM holdfast.segment CROSS JOIN LATERAL
        unnest(segment.kinds, segment.times, segment.sizes, segment.crcs)
        WITH ORDINALITY AS item (kind, ts, size, crc, place);
