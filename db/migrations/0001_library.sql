-- The library: images by content, texts once, vectors by (text or image, encoder). Shipped: never edit, add the next number.

CREATE TABLE library (                       -- one row
    singleton  boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    generation bigint NOT NULL DEFAULT 0,    -- grows with every write, so that a search node knows when its result is old
    created    timestamptz NOT NULL DEFAULT now()
);
INSERT INTO library DEFAULT VALUES;

CREATE TABLE roots (
    id   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    path text NOT NULL UNIQUE                -- absolute; a moved drive is one UPDATE of it
);

-- One distinct prompt or negative prompt; SDXL's two encoders may be given different ones.
CREATE TABLE texts (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash   bytea NOT NULL UNIQUE,            -- of the pair, by TextPair.hash
    text_g text NOT NULL,
    text_l text NOT NULL,
    joined text NOT NULL GENERATED ALWAYS AS (   -- what is searched and shown, by the rule of TextPair.joined
        CASE WHEN text_g = text_l OR text_l = '' THEN text_g
             WHEN text_g = '' THEN text_l
             ELSE text_g || E'\n' || text_l END) STORED
);

CREATE TABLE images (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash            bytea NOT NULL UNIQUE,   -- of the file's content
    width           integer NOT NULL,
    height          integer NOT NULL,
    prompt_id       bigint REFERENCES texts,
    negative_id     bigint REFERENCES texts,
    prompt_joined   boolean NOT NULL,        -- several texts made the image; the text is all of them
    negative_joined boolean NOT NULL,
    seed            numeric(20),             -- reaches 2^64-1, which a bigint cannot hold
    steps           bigint,
    cfg             double precision,
    sampler         text,
    scheduler       text,
    checkpoint      text,
    loras           jsonb NOT NULL,
    generator       text,
    created         timestamptz,
    indexed         timestamptz NOT NULL DEFAULT now()
);
-- The image id in the key lets a search take the first images of a text without sorting them.
CREATE INDEX images_prompt ON images (prompt_id, id);
CREATE INDEX images_negative ON images (negative_id, id);

-- Where an image lies. Copies are several paths of one image; a path whose file is gone stays known.
CREATE TABLE paths (
    root_id   integer NOT NULL REFERENCES roots ON DELETE CASCADE,
    path      text COLLATE "C" NOT NULL,     -- relative, with '/'; byte order lets the key serve "all below this folder"
    image_id  bigint NOT NULL REFERENCES images ON DELETE CASCADE,
    file_size bigint NOT NULL,
    mtime_ns  bigint NOT NULL,
    seen      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (root_id, path)
);
CREATE INDEX paths_image ON paths (image_id, seen DESC, root_id, path);  -- the path to show comes first

-- What a file carried: its bytes as they were, and JSON that PostgreSQL takes.
CREATE TABLE metadata (
    image_id bigint NOT NULL REFERENCES images ON DELETE CASCADE,
    key      text NOT NULL,
    raw      bytea NOT NULL,                 -- zlib
    data     jsonb,                          -- null where raw is no JSON
    PRIMARY KEY (image_id, key)
);
ALTER TABLE metadata ALTER COLUMN raw SET STORAGE EXTERNAL;  -- compressed already

CREATE TABLE encoders (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    family      text NOT NULL,               -- text, image, clip_l, clip_g, token_states
    fingerprint text NOT NULL,
    name        text NOT NULL,
    dims        integer NOT NULL CHECK (dims BETWEEN 1 AND 4000),  -- what an HNSW index over halfvec takes
    details     jsonb NOT NULL,
    active      boolean NOT NULL DEFAULT false,
    UNIQUE (family, fingerprint)
);
CREATE UNIQUE INDEX encoders_active ON encoders (family) WHERE active;

-- Narrow rows held inline: an exact scan over them is five times faster than over TOASTed ones.
-- No dimension on the column: encoders of several sizes share a table, each with a partial HNSW index of its own size.
CREATE TABLE text_vectors (
    text_id    bigint NOT NULL REFERENCES texts ON DELETE CASCADE,
    encoder_id integer NOT NULL REFERENCES encoders ON DELETE CASCADE,
    embedding  halfvec NOT NULL,
    PRIMARY KEY (encoder_id, text_id)
);
ALTER TABLE text_vectors ALTER COLUMN embedding SET STORAGE PLAIN;
CREATE INDEX text_vectors_text ON text_vectors (text_id);

CREATE TABLE image_vectors (
    image_id   bigint NOT NULL REFERENCES images ON DELETE CASCADE,
    encoder_id integer NOT NULL REFERENCES encoders ON DELETE CASCADE,
    embedding  halfvec NOT NULL,
    PRIMARY KEY (encoder_id, image_id)
);
ALTER TABLE image_vectors ALTER COLUMN embedding SET STORAGE PLAIN;
CREATE INDEX image_vectors_image ON image_vectors (image_id);

-- SDXL's cross-attention input for a text: little-endian float16, states [tokens, dims] and pooled [1280].
CREATE TABLE token_states (
    text_id    bigint NOT NULL REFERENCES texts ON DELETE CASCADE,
    encoder_id integer NOT NULL REFERENCES encoders ON DELETE CASCADE,
    tokens     integer NOT NULL,
    states     bytea NOT NULL,
    pooled     bytea NOT NULL,
    PRIMARY KEY (encoder_id, text_id)
);
ALTER TABLE token_states ALTER COLUMN states SET STORAGE EXTERNAL;
ALTER TABLE token_states ALTER COLUMN pooled SET STORAGE EXTERNAL;
CREATE INDEX token_states_text ON token_states (text_id);
