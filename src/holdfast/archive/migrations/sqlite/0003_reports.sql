CREATE TABLE connection (
    id TEXT PRIMARY KEY, stream TEXT NOT NULL, owner TEXT NOT NULL, tenant TEXT NOT NULL,
    opened_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, closed_at INTEGER,
    data BLOB NOT NULL);
CREATE INDEX connection_by_stream ON connection (stream, opened_at, id);
CREATE INDEX connection_by_owner ON connection (owner, opened_at, id);
CREATE INDEX connection_by_tenant ON connection (tenant, opened_at, id);
CREATE INDEX connection_by_opening ON connection (opened_at, id);
CREATE INDEX connection_by_update ON connection (updated_at);

CREATE TABLE minute (
    at INTEGER NOT NULL, node TEXT NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (at, node)) WITHOUT ROWID;
