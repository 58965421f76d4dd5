-- Token states packed without loss, each with a checksum; and what estimates them for texts that have none. Shipped: never edit, add the next number.

ALTER TABLE token_states
    ADD checksum bytea,                     -- sha256(states), so that a server can verify it too; null: `states` is plain float16, as before
    ALTER COLUMN pooled DROP NOT NULL;      -- null where it is packed with the states

-- Fitted on the library's own texts.
CREATE TABLE approximations (
    encoder_id        integer PRIMARY KEY REFERENCES encoders ON DELETE CASCADE,   -- of the token states
    clip_l_encoder_id integer NOT NULL REFERENCES encoders ON DELETE CASCADE,      -- of the vectors that they are estimated from
    clip_g_encoder_id integer NOT NULL REFERENCES encoders ON DELETE CASCADE,
    texts      bigint NOT NULL,              -- that could have been fitted on, by which the library is seen to have grown
    by_vectors bytea NOT NULL,               -- embedders/estimate.py: for the two vectors alone, 39 MB at most
    by_text    bytea,                        -- what it needs besides for a text whose tokens are known, 25 MB at most
    details    jsonb NOT NULL,               -- texts that were fitted on, and the errors on held-out ones
    created    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX approximations_clip_l ON approximations (clip_l_encoder_id);
CREATE INDEX approximations_clip_g ON approximations (clip_g_encoder_id);
ALTER TABLE approximations ALTER COLUMN by_vectors SET STORAGE EXTERNAL, ALTER COLUMN by_text SET STORAGE EXTERNAL;   -- numbers don't shrink
