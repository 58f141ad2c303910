-- One row: 32 random bytes that all nodes share, and the count of the keys' changes.
CREATE TABLE holdfast.meta (
    single boolean PRIMARY KEY DEFAULT true CHECK (single), secret bytea NOT NULL,
    revision bigint NOT NULL DEFAULT 0);

CREATE TABLE holdfast.key (
    id text COLLATE "C" PRIMARY KEY, digest bytea NOT NULL UNIQUE, created_at bigint NOT NULL,
    revoked_at bigint, data bytea NOT NULL);
