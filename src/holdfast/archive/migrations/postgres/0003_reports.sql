CREATE TABLE holdfast.connection (
    id text COLLATE "C" PRIMARY KEY, stream text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL, tenant text COLLATE "C" NOT NULL,
    opened_at bigint NOT NULL, updated_at bigint NOT NULL, closed_at bigint,
    data bytea NOT NULL);
CREATE INDEX connection_by_stream ON holdfast.connection (stream, opened_at, id);
CREATE INDEX connection_by_owner ON holdfast.connection (owner, opened_at, id);
CREATE INDEX connection_by_tenant ON holdfast.connection (tenant, opened_at, id);
-- Of an expression: see `stream_by_creation`.
CREATE INDEX connection_by_opening ON holdfast.connection ((opened_at + 0), id);
CREATE INDEX connection_by_update ON holdfast.connection (updated_at);

CREATE TABLE holdfast.minute (
    at bigint NOT NULL, node text COLLATE "C" NOT NULL, data bytea NOT NULL,
    PRIMARY KEY (at, node));
