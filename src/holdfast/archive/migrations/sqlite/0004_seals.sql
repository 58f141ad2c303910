-- The data key of a stream, wrapped by a key of the ring; a stream without one is plain. Of a
-- sealed one `events` are a part of `data`.
ALTER TABLE stream ADD COLUMN key BLOB;

-- The archive's own key, wrapped by each of the ring's keys that is in use here.
CREATE TABLE guard (id TEXT PRIMARY KEY, blob BLOB NOT NULL) WITHOUT ROWID;

-- Whether `data` are sealed, by the archive's key.
ALTER TABLE connection ADD COLUMN sealed INTEGER NOT NULL DEFAULT 0;
