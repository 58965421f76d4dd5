-- Token states packed without loss, each with a checksum. Shipped: never edit, add the next number.

ALTER TABLE token_states
    ADD checksum bytea,                     -- sha256(states), so that a server can verify it too; null: `states` is plain float16, as before
    ALTER COLUMN pooled DROP NOT NULL;      -- null where it is packed with the states
