-- A finished stream; `header` is sealed, and lists are made of the rest.
CREATE TABLE stream (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, tenant TEXT NOT NULL, status TEXT NOT NULL,
    client_id TEXT, session_id TEXT, provider TEXT NOT NULL, model TEXT NOT NULL,
    created_at INTEGER NOT NULL, ended_at INTEGER NOT NULL, epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL, cancelled INTEGER NOT NULL, header BLOB NOT NULL);

-- A search for one owner's or one tenant's passes over nobody else's, and opens no row in vain.
CREATE INDEX stream_by_owner
    ON stream (owner, created_at, id, status, client_id, session_id);
CREATE INDEX stream_by_tenant
    ON stream (tenant, created_at, id, owner, status, client_id, session_id);
CREATE INDEX stream_by_creation
    ON stream (created_at, id, status, client_id, session_id);
CREATE INDEX stream_by_end ON stream (ended_at);

-- Consecutive events of one life; `events` is a JSON list of [kind, ms after `ts`, size, CRC-32].
CREATE TABLE segment (
    stream TEXT NOT NULL, epoch INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    ts INTEGER NOT NULL, events TEXT NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (stream, epoch, first));

CREATE TABLE attempt (
    stream TEXT NOT NULL, number INTEGER NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL,
    begun_at INTEGER NOT NULL, how TEXT NOT NULL, error TEXT NOT NULL,
    duration_ms INTEGER NOT NULL, input_tokens INTEGER, output_tokens INTEGER,
    total_tokens INTEGER, reasoning_tokens INTEGER, cached_tokens INTEGER,
    PRIMARY KEY (stream, number)) WITHOUT ROWID;

-- A stream that was let go.
CREATE TABLE tombstone (
    stream TEXT PRIMARY KEY, owner TEXT NOT NULL, expired_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX tombstone_by_time ON tombstone (expired_at);

-- Every event without its data, for people.
CREATE VIEW event AS
    SELECT segment.stream AS stream, segment.epoch AS epoch, segment.first + item.key AS seq,
        CASE json_extract(item.value, '$[0]')
            WHEN 1 THEN 'start' WHEN 2 THEN 'chunk' WHEN 3 THEN 'metadata'
            WHEN 4 THEN 'rewind' WHEN 5 THEN 'error' WHEN 6 THEN 'complete' END AS kind,
        segment.ts + json_extract(item.value, '$[1]') AS ts,
        json_extract(item.value, '$[2]') AS size,
        json_extract(item.value, '$[3]') AS crc
    FROM segment, json_each(segment.events) AS item;
