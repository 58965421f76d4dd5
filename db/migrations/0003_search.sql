-- Search: what images are chosen by beside their vectors, how they look in 64 bits, and one index for any mix of kinds.
-- Shipped: never edit, add the next number.

ALTER TABLE images
    ADD labels    text[] NOT NULL DEFAULT '{}',  -- given by a person: to a run of Index Folder, or to single images
    ADD namespace text NOT NULL DEFAULT '',      -- one of a person's collections
    ADD rating    smallint CHECK (rating BETWEEN -1 AND 5),   -- XMP's: -1 rejected, 0 to 5 stars
    ADD phash     bigint;                        -- 64-bit perceptual hash; null where the picture was not decoded for it yet
CREATE INDEX images_labels ON images USING gin (labels);
CREATE INDEX images_namespace ON images (namespace) WHERE namespace <> '';
CREATE INDEX images_rating ON images (rating) WHERE rating IS NOT NULL;
CREATE INDEX images_checkpoint ON images (checkpoint);
CREATE INDEX images_seed ON images (seed);
CREATE INDEX images_created ON images (created);
CREATE INDEX images_steps ON images (steps);
CREATE INDEX images_sampler ON images (sampler);
CREATE INDEX images_cfg ON images (cfg);
CREATE INDEX images_size ON images (width, height);
CREATE INDEX images_loras ON images USING gin (loras jsonb_path_ops);  -- a LoRA by its whole name

-- In prompts a comma, a slash or an underscore parts words; PostgreSQL's own parser makes "cat/dog" a file and "dress.She" a host.
-- Words as they are, of any language; beyond 100,000 characters a text could pass what a tsvector takes.
CREATE FUNCTION words_of(content text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT to_tsvector('simple'::regconfig, translate(left(content, 100000),
        '!"#$%&''()+,-./:;<=>?@[\]^_`{|}~ «·»–—‘’“”…、。「」！（），：；？*', repeat(' ', 54)))
$$;
CREATE INDEX texts_words ON texts USING gin (words_of(joined));

-- One inner-product index over several kinds at once: [P1 x1, P2 x2, ...] of unit vectors x, made shorter by projections P
-- that were fitted on the library. The weights of a question stand on its own side, so one index serves any.
CREATE TABLE hybrids (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kinds       text[] NOT NULL,
    encoder_ids integer[] NOT NULL,              -- aligned with kinds
    dims        integer NOT NULL CHECK (dims BETWEEN 1 AND 4000),
    projection  bytea NOT NULL,                  -- float16 matrices of all kinds; empty where none is needed
    details     jsonb NOT NULL,
    fitted_on   bigint NOT NULL,                 -- images
    ready       boolean NOT NULL DEFAULT false,
    created     timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE hybrid_vectors (
    image_id  bigint NOT NULL REFERENCES images ON DELETE CASCADE,
    hybrid_id integer NOT NULL REFERENCES hybrids ON DELETE CASCADE,
    embedding halfvec NOT NULL,
    PRIMARY KEY (hybrid_id, image_id)
);
ALTER TABLE hybrid_vectors ALTER COLUMN embedding SET STORAGE PLAIN;
CREATE INDEX hybrid_vectors_image ON hybrid_vectors (image_id);
CREATE TABLE hybrid_tail (                       -- images that are new or changed since: searched exactly until they are folded in
    image_id bigint PRIMARY KEY REFERENCES images ON DELETE CASCADE
);
