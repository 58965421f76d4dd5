-- Indexing by several at once, files that are gone, and content known by a faster hash. Shipped: never edit, add the next number.

ALTER TABLE images ADD hashed_by text NOT NULL DEFAULT 'sha256' CHECK (hashed_by IN ('sha256', 'blake3'));   -- what `hash` is; a file that is read again brings blake3
CREATE INDEX images_older_hash ON images (id) WHERE hashed_by = 'sha256';

ALTER TABLE paths ADD missing timestamptz;   -- when a run over its folder found the file gone; null: it was there
CREATE INDEX paths_missing ON paths (root_id, path) WHERE missing IS NOT NULL;

-- A run holds the session advisory lock (4703004, id) as long as it lives, so what a dead run had taken is free at once.
CREATE TABLE runs (
    id      integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started timestamptz NOT NULL DEFAULT now(),
    who     text NOT NULL                    -- host and process, for the person who is told that another run has a file
);
CREATE TABLE claims (                        -- files that a run has taken to read, until it has written or refused them
    root_id integer NOT NULL REFERENCES roots ON DELETE CASCADE,
    path    text COLLATE "C" NOT NULL,
    run_id  integer NOT NULL REFERENCES runs ON DELETE CASCADE,
    PRIMARY KEY (root_id, path)
);
CREATE INDEX claims_run ON claims (run_id);

-- Indexes over vectors that a large run put off until it is done; whoever comes next makes them if it can't.
CREATE TABLE postponed_indexes (
    encoder_id      integer PRIMARY KEY REFERENCES encoders ON DELETE CASCADE,
    method          text NOT NULL,
    m               integer NOT NULL,
    ef_construction integer NOT NULL,
    since           timestamptz NOT NULL DEFAULT now()
);
