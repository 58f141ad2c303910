-- The data key of a stream, wrapped by a key of the ring; a stream without one is plain. Of a
-- sealed one the arrays of its segments are a part of `data`.
ALTER TABLE holdfast.stream ADD COLUMN key bytea;

-- The archive's own key, wrapped by each of the ring's keys that is in use here.
CREATE TABLE holdfast.guard (id text COLLATE "C" PRIMARY KEY, blob bytea NOT NULL);

-- Whether `data` are sealed, by the archive's key.
ALTER TABLE holdfast.connection ADD COLUMN sealed boolean NOT NULL DEFAULT false;
